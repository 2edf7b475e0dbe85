module github.com/outhook/webhook/examples

go 1.26

require (
	github.com/google/uuid v1.6.0
	github.com/outhook/webhook v0.0.0
	go.etcd.io/bbolt v1.4.3
	go.uber.org/goleak v1.3.0
)

require (
	code.dny.dev/ssrf v0.3.0 // indirect
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	go.uber.org/multierr v1.10.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
	golang.org/x/sys v0.29.0 // indirect
	golang.org/x/time v0.14.0 // indirect
)

replace github.com/outhook/webhook => ../
