// Package header judges HTTP headers that somebody else chooses: whether they arrive
// as they are, and add, hide or split nothing.
package header

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// MaxBytes bounds names and values together; maxHeaders is how many there may be.
const (
	MaxBytes   = 8 << 10
	maxHeaders = 50
)

// Check returns what is wrong with headers. The error names the header and contains
// no value.
func Check(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fmt.Errorf("there are %d, want at most %d", len(headers), maxHeaders)
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if err := CheckName(name); err != nil {
			return err
		}
		canonical, key := http.CanonicalHeaderKey(name), key(name)
		if seen[key] {
			return fmt.Errorf("%s is there twice", canonical)
		}
		if err := CheckValue(headers[name]); err != nil {
			return fmt.Errorf("%s: %w", canonical, err)
		}
		seen[key] = true
		size += len(name) + len(headers[name])
	}
	if size > MaxBytes {
		return fmt.Errorf("they have %d bytes, want at most %d", size, MaxBytes)
	}
	return nil
}

// CheckName returns an error unless name is a header name that is not reserved.
func CheckName(name string) error {
	if !IsName(name) {
		return fmt.Errorf("%.64q is not a header name", name)
	}
	if key := key(name); Reserved(key) {
		return fmt.Errorf("the header %s is reserved", key)
	}
	return nil
}

// CheckValue returns an error unless value is legal (RFC 9110, section 5.5, without
// the obsolete forms) and arrives as it is. The error does not quote it.
func CheckValue(value string) error {
	illegal := func(c rune) bool { return (c < ' ' || c > '~') && c != '\t' }
	if strings.ContainsFunc(value, illegal) || strings.TrimSpace(value) != value {
		return errors.New("the value is not visible ASCII without spaces around it")
	}
	return nil
}

// IsName reports whether name is a token (RFC 9110, section 5.6.2).
func IsName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// IsCredential reports whether value can be sent as a header by itself: some
// visible ASCII characters, with spaces only between them.
func IsCredential(value string) bool {
	return value != "" && CheckValue(value) == nil && !strings.Contains(value, "\t")
}

// Among reports whether a receiver may take name for one of the names.
func Among(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return key(n) == key(name) })
}

// key returns what tells header names apart: the canonical form with "-" for "_".
// To receivers that read headers as CGI has them (RFC 3875, section 4.1.18), as
// PHP, WSGI and Rack do, Content_Length is Content-Length.
func key(name string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// Reserved reports whether only the sender itself, or net/http, may write the
// header of that canonical name.
func Reserved(canonical string) bool {
	switch canonical {
	case "Connection", "Content-Length", "Host", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade": // they frame the request
		return true
	case "Accept-Encoding", "Content-Encoding", "Content-Type", "Date", "Expect", "User-Agent": // they describe it
		return true
	case "Proxy-Authenticate", "Proxy-Authorization": // for a proxy, not for the endpoint
		return true
	case "Idempotency-Key", "X-Idempotency-Key": // net/http would take them as leave to send the POST twice
		return true
	}
	return false
}
