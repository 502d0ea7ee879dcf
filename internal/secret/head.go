package secret

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// Head is a place in a chain of signatures, counted from 1, with the signature at that place. The
// signature covers the whole chain up to there. The zero value is the place before the first.
type Head struct {
	Seq int64
	MAC []byte
}

// String returns the number, a colon and the signature in hexadecimal, the form
// that [ParseHead] reads.
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + hex.EncodeToString(h.MAC) }

// ParseHead parses the result of [Head.String]. It refuses the zero Head.
func ParseHead(text string) (Head, error) {
	seq, mac, _ := strings.Cut(text, ":")
	var (
		h          Head
		err1, err2 error
	)
	h.Seq, err1 = strconv.ParseInt(seq, 10, 64)
	h.MAC, err2 = hex.DecodeString(mac)
	if err1 != nil || err2 != nil || h.Seq < 1 || len(h.MAC) == 0 {
		return Head{}, errors.New("a head has the form NUMBER:HEX; copy it from an \"audit sealed\" line of the server's log")
	}
	return h, nil
}

// Equal reports whether h and other are the same place with the same signature.
func (h Head) Equal(other Head) bool { return h.Seq == other.Seq && bytes.Equal(h.MAC, other.MAC) }
