// Verifies a complete Countersign audit export with Go's own sumdb/note and sumdb/tlog: the key opens
// the checkpoint, and the events, byte for byte, are the tree that it signs. Needs Debian's golang-go and
// golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run tests/counterparts/tlog/export/main.go VKEY < export.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type line struct {
	Header *struct {
		Checkpoint string
		Complete   bool
	}
	Event json.RawMessage
	Index int64
}

type hashes []tlog.Hash

func (stored hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	read := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		read[i] = stored[index]
	}
	return read, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: export VKEY < export.jsonl")
	}
	verifier, err := note.NewVerifier(os.Args[1])
	check(err)
	var signed string
	var stored hashes
	var size int64
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var l line
		check(json.Unmarshal(scanner.Bytes(), &l))
		switch {
		case l.Header != nil && l.Header.Complete:
			opened, err := note.Open([]byte(l.Header.Checkpoint), note.VerifierList(verifier))
			check(err)
			signed = opened.Text
		case l.Event != nil && l.Index == size:
			more, err := tlog.StoredHashes(size, l.Event, stored)
			check(err)
			stored = append(stored, more...)
			size++
		case l.Event != nil:
			log.Fatalf("event %d is missing", size)
		}
	}
	check(scanner.Err())
	root, err := tlog.TreeHash(size, stored)
	check(err)
	if expected := fmt.Sprintf("%s\n%d\n%s\n", verifier.Name(), size, root); signed != expected {
		log.Fatalf("the checkpoint says %q, the events say %q", signed, expected)
	}
	fmt.Printf("tlog: %d events are the tree that %s signed\n", size, verifier.Name())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
