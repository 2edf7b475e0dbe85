// Package cursor writes the place of an item in a listing that is ordered by
// time: by what whoever has seen the item knows already, when it was created and
// its ID. A number that breaks the ties between equal times would count what
// belongs to others; the store looks it up instead.
package cursor

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The times that a cursor may hold: not the zero one, and none that a database
// does not know.
var (
	earliest = time.Time{}.Add(time.Microsecond)
	latest   = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

// Format returns the cursor behind an item that was created at that time, to the
// microsecond. A cursor of one kind of listing is none of another kind.
func Format(kind byte, created time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%c%d %s", kind, created.UnixMicro(), id))
}

// Parse is the reverse of Format. It is false for what Format cannot have made.
func Parse(kind byte, cursor string) (created time.Time, id string, ok bool) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(text) == 0 || text[0] != kind {
		return time.Time{}, "", false
	}
	at, id, _ := strings.Cut(string(text[1:]), " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return time.Time{}, "", false
	}
	created = time.UnixMicro(us).UTC()
	// What is written in another way, such as with "+0" for a time or a line
	// break inside, was not made by Format either.
	ok = id != "" && !created.Before(earliest) && !created.After(latest) && Format(kind, created, id) == cursor
	return created, id, ok
}
