// Program go writes its input as gzip with the standard library.
//
//	go LEVEL PIECE < in > out
//
// PIECE is how many bytes are handed to the encoder at once; 0 for all of them.
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
	for len(in) > 0 {
		now := min(piece, len(in))
		if _, err := out.Write(in[:now]); err != nil {
			log.Fatal(err)
		}
		in = in[now:]
	}
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
}
