// Program go writes its input as gzip with the standard library.
//
//	go LEVEL PIECE [MEMBER] < in > out
//
// PIECE is how many bytes are handed to the encoder at once; 0 for all of them. After MEMBER bytes another member begins.
package main

import (
	"compress/gzip"
	"io"
	"log"
	"os"
	"strconv"
)

func main() {
	level, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	piece, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	out, err := gzip.NewWriterLevel(os.Stdout, level)
	if err != nil {
		log.Fatal(err)
	}
	if piece == 0 {
		piece = len(in) + 1
	}
	member := len(in) + 1
	if len(os.Args) > 3 {
		if member, err = strconv.Atoi(os.Args[3]); err != nil {
			log.Fatal(err)
		}
	}
	for left := member; len(in) > 0; {
		if left == 0 {
			if err := out.Close(); err != nil {
				log.Fatal(err)
			}
			out.Reset(os.Stdout)
			left = member
		}
		now := min(piece, left, len(in))
		left -= now
		if _, err := out.Write(in[:now]); err != nil {
			log.Fatal(err)
		}
		in = in[now:]
	}
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
}
