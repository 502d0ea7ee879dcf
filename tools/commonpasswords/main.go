// Command commonpasswords turns a JSON list of common passwords into the file
// that package password embeds: the first five bytes of each one's SHA-256,
// sorted. The list comes from the npm package @zxcvbn-ts/language-common
// (MIT); unpack it and run
//
//	go -C tools run ./commonpasswords < passwords.json > internal/authenticator/password/common.bin
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

const prefix = 5 // bytes; a false hit in 4·10⁻⁸

func main() {
	var words []string
	if err := json.NewDecoder(os.Stdin).Decode(&words); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var sums [][]byte
	for _, word := range words {
		sum := sha256.Sum256([]byte(strings.ToLower(word)))
		sums = append(sums, sum[:prefix])
	}
	slices.SortFunc(sums, bytes.Compare)
	sums = slices.CompactFunc(sums, bytes.Equal)
	if _, err := os.Stdout.Write(bytes.Join(sums, nil)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
