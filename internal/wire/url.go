package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ErrURL says that a URL is malformed or of a form that is not permitted. The
// text says why and holds nothing of the URL. It matches ErrHTTP too where
// [Options].AllowHTTP would permit it.
var (
	ErrURL  = errors.New("URL not permitted")
	ErrHTTP = errors.New("its scheme must be https")
)

const maxURL = 2048

// CheckURL parses the URL of a receiver: absolute, https (or http with
// [Options].AllowHTTP), at most 2,048 visible ASCII characters, with neither
// user information nor fragment. Its host is an address without a zone or a name
// of letters, digits, hyphens and underscores. The error is [ErrURL], or
// [ErrBlocked] for a port, an address or a name that is forbidden; what a name
// resolves to is judged when it is dialled.
func (c *Client) CheckURL(raw string) (*url.URL, error) {
	u, err := c.parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if err := c.guard.target(u); err != nil {
		return nil, err
	}
	return u, nil
}

func (c *Client) parse(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, errors.New("it is longer than 2048 bytes")
	}
	// A backslash is a slash to browsers, and so the end of the host.
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return nil, errors.New("it must be visible ASCII without backslashes: encode what else a path holds with %, a host name as punycode")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it is malformed") // err repeats what may be a password
	}
	switch {
	case u.Scheme == "http" && !c.guard.allowHTTP:
		return nil, ErrHTTP
	case u.Scheme != "https" && !c.guard.allowHTTP:
		return nil, errors.New("its scheme must be https")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("its scheme must be https or http")
	case u.User != nil:
		return nil, errors.New("it must not hold user information")
	case strings.Contains(raw, "#"):
		return nil, errors.New("it must not hold a fragment")
	case u.Hostname() == "":
		return nil, errors.New("it has no host")
	case strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("its port is empty")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return nil, errors.New("its port must be a number from 1 to 65535")
		}
	}
	return u, checkHost(u.Hostname())
}

func checkHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return errors.New("its address must not have a zone")
		}
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > 253 {
		return errors.New("its host name is longer than 253 bytes")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return errors.New("its host must be an address, or a name of letters, digits, hyphens and underscores")
		}
	}
	// Some resolvers read such a name as an address (WHATWG URL, "ends in a
	// number checker").
	if isNumber(labels[len(labels)-1]) {
		return errors.New("its host ends in a number, but is not an IPv4 address in the form 192.0.2.1")
	}
	return nil
}

// isLabel is RFC 1123, section 2.1, and underscores.
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return !isDigit(r) && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

func isNumber(label string) bool {
	label = strings.ToLower(label)
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return !strings.ContainsFunc(hex, func(r rune) bool { return !isDigit(r) && (r < 'a' || r > 'f') })
	}
	return !strings.ContainsFunc(label, func(r rune) bool { return !isDigit(r) })
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }
