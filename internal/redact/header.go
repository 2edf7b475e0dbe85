package redact

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Header replaces each word in the values of h.
func (w *Words) Header(h http.Header) {
	for _, values := range h {
		for n := range values {
			values[n] = w.String(values[n])
		}
	}
}

// Header returns a copy of h with [Mark] as the value of those of these names,
// canonical ones, that it has; h itself if it has none.
func Header(h http.Header, names []string) http.Header {
	if !slices.ContainsFunc(names, func(name string) bool { return h[name] != nil }) {
		return h
	}
	h = maps.Clone(h)
	for _, name := range names {
		if h[name] != nil {
			h[name] = []string{Mark}
		}
	}
	return h
}

// HeaderWords returns the words in the headers of these names: each value, what
// follows the scheme in it, and those of cookies.
func HeaderWords(h http.Header, names []string) []string {
	var words []string
	for _, name := range names {
		value := h.Get(name)
		_, credentials, _ := strings.Cut(value, " ")
		words = append(words, value, credentials)
		if name == "Cookie" {
			cookies, _ := http.ParseCookie(value)
			for _, c := range cookies {
				words = append(words, c.Value)
			}
		}
	}
	return words
}

// URL returns a URL with [Mark] as all that follows its host, if something does,
// and the words in that: each segment of the path; the query and each value in it.
func URL(address string) (marked string, path, query []string) {
	host := 0
	if before, _, ok := strings.Cut(address, "://"); ok {
		host = len(before) + len("://")
	}
	end := strings.IndexAny(address[host:], "/?#")
	if end < 0 || host+end+1 == len(address) && address[host+end] == '/' {
		return address, nil, nil
	}
	end += host
	before, after, _ := strings.Cut(address[end:], "?")
	for segment := range strings.SplitSeq(before, "/") {
		path = append(path, segment)
		if plain, err := url.PathUnescape(segment); err == nil {
			path = append(path, plain)
		}
	}
	values, _ := url.ParseQuery(after) // what there is, also where some is malformed
	query = append(slices.Concat(slices.Collect(maps.Values(values))...), after)
	return address[:end] + "/" + Mark, path, query
}
