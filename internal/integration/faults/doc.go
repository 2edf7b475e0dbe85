// Package faults tests that a Dispatcher rides out the failures of its database:
// nothing is lost, everything goes on by itself, and each outage is told of once.
package faults
