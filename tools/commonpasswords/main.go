// Command commonpasswords converts a JSON list of common passwords to the file that
// package password embeds: the first five bytes of the SHA-256 of each password, sorted.
// The list is in the npm package @zxcvbn-ts/language-common (MIT); unpack it and run
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

// prefix is how many bytes of a hash are stored. The probability of a false match is 4·10⁻⁸.
const prefix = 5

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
