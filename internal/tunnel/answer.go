package tunnel

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// The headers in which proxies say what a status does not.
const (
	smokescreenError = "X-Smokescreen-Error" // on all that smokescreen itself answers
	squidError       = "X-Squid-Error"       // the same of Squid: the name of the error, and errno
	proxyStatus      = "Proxy-Status"        // RFC 9209
)

// proxyErrors are the error types of RFC 9209, section 2.3, that say whose fault
// it is. The others leave it to the status.
var proxyErrors = map[string]error{
	"dns_timeout":               ErrUnreachable,
	"dns_error":                 ErrUnreachable,
	"destination_not_found":     ErrProxy, // no route is configured
	"destination_unavailable":   ErrUnreachable,
	"destination_ip_prohibited": ErrRefused,
	"destination_ip_unroutable": ErrUnreachable,
	"connection_refused":        ErrUnreachable,
	"connection_terminated":     ErrUnreachable,
	"connection_timeout":        ErrUnreachable,
	"connection_read_timeout":   ErrUnreachable,
	"connection_write_timeout":  ErrUnreachable,
	"connection_limit_reached":  ErrProxy,
	"tls_protocol_error":        ErrUnreachable,
	"tls_certificate_error":     ErrUnreachable,
	"tls_alert_received":        ErrUnreachable,
	"http_request_denied":       ErrRefused,
	"proxy_internal_error":      ErrProxy,
	"proxy_configuration_error": ErrProxy,
	"proxy_loop_detected":       ErrProxy,
}

// squidErrors are the errors that Squid answers with a status which other errors
// of its have that are the destination's.
var squidErrors = map[string]error{
	"ERR_SHUTTING_DOWN":   ErrProxy,
	"ERR_SOCKET_FAILURE":  ErrProxy,
	"ERR_GATEWAY_FAILURE": ErrProxy,
	"ERR_ICAP_FAILURE":    ErrProxy,
	"ERR_CANNOT_FORWARD":  ErrUnclear,
}

// statuses are what is made of the status alone. Any other is the proxy's fault:
// 500, what does not know CONNECT, what sends us elsewhere.
var statuses = map[int]error{
	http.StatusBadRequest:                 ErrUnclear, // no proxy, or a host that this one finds malformed
	http.StatusForbidden:                  ErrRefused,
	http.StatusNotFound:                   ErrUnreachable, // what some answer for a name that does not exist
	http.StatusUnavailableForLegalReasons: ErrRefused,
	http.StatusBadGateway:                 ErrUnreachable,
	http.StatusServiceUnavailable:         ErrUnreachable, // of Squid and Envoy; see the headers
	http.StatusGatewayTimeout:             ErrUnreachable,
}

// Answer returns what an answer of the proxy's own, which is no tunnel, means.
func Answer(res *http.Response) error {
	verdict := judge(res)
	said := ""
	for _, name := range []string{smokescreenError, squidError, proxyStatus} {
		if v := res.Header.Get(name); v != "" {
			said = ": " + printable(v)
			break
		}
	}
	return fmt.Errorf("%w: it answered with status %d%s", verdict, res.StatusCode, said)
}

func judge(res *http.Response) error {
	h := res.Header
	if verdict, ok := proxyErrors[statusError(h.Values(proxyStatus))]; ok {
		return verdict
	}
	name, _, _ := strings.Cut(h.Get(squidError), " ")
	if verdict, ok := squidErrors[name]; ok {
		return verdict
	}
	switch {
	case res.StatusCode == http.StatusProxyAuthRequired:
		// Who asks for credentials says which (RFC 9110, section 15.5.8).
		// smokescreen does not: it means that its rules forbid the destination.
		if h.Get("Proxy-Authenticate") == "" || h.Get(smokescreenError) != "" {
			return ErrRefused
		}
		return ErrProxy
	case h.Get("X-Envoy-Overloaded") != "", h.Get("X-Envoy-Local-Overloaded") != "":
		return ErrProxy
	// tinyproxy's only word for a destination that it cannot reach.
	case res.StatusCode == http.StatusInternalServerError && strings.HasPrefix(h.Get("Server"), "tinyproxy") && strings.HasSuffix(res.Status, "Unable to connect"):
		return ErrUnreachable
	}
	if verdict, ok := statuses[res.StatusCode]; ok {
		return verdict
	}
	return ErrProxy
}

// IsOwn reports whether an answer to a request that was not for a tunnel is
// certainly the proxy's own and not the destination's.
func IsOwn(res *http.Response) bool {
	return res.StatusCode == http.StatusProxyAuthRequired || res.Header.Get(smokescreenError) != "" || res.Header.Get(squidError) != ""
}

var (
	quoted    = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	errorType = regexp.MustCompile(`;\s*error\s*=\s*([a-z_]+)`)
)

// statusError returns the error type in a Proxy-Status field: that of the proxy
// next to us, if several say one.
func statusError(values []string) string {
	all := errorType.FindAllStringSubmatch(quoted.ReplaceAllString(strings.Join(values, ", "), ""), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// printable bounds a text that the proxy chose.
func printable(s string) string {
	const limit = 200
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.Trim(strconv.QuoteToASCII(s), `"`)
}
