package hostile

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
)

// Resolver returns a resolver whose names have the addresses that answer returns.
// It speaks DNS over connections in memory. A name that begins with "alias." is
// one of what follows that.
func Resolver(answer func(name string) []netip.Addr) *net.Resolver {
	serve := func(conn net.Conn) {
		defer conn.Close()
		for {
			var length [2]byte // RFC 1035, section 4.2.2
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			reply := dnsReply(query, answer)
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				return
			}
		}
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serve(theirs)
		return ours, nil
	}}
}

// dnsReply answers a query of one question (RFC 1035, section 4).
func dnsReply(query []byte, answer func(name string) []netip.Addr) []byte {
	const header, typeA, typeCNAME, typeAAAA = 12, 1, 5, 28
	var labels []string
	at := header
	for query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	question := query[header : at+5]
	var records []byte
	count := 0
	record := func(owner int, kind uint16, data []byte) {
		count++
		records = binary.BigEndian.AppendUint16(records, 0xc000|uint16(owner)) // the name at that offset
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, no time to live
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
	}
	owner := header
	for labels[0] == "alias" {
		next := owner + 1 + len(labels[0])
		record(owner, typeCNAME, []byte{0xc0, byte(next)})
		owner, labels = next, labels[1:]
	}
	for _, a := range answer(strings.Join(labels, ".")) {
		if a.Is4() && kind == typeA || a.Is6() && kind == typeAAAA {
			record(owner, kind, a.AsSlice())
		}
	}
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, byte(count >> 8), byte(count), 0, 0, 0, 0}, question...)
	return append(reply, records...)
}
