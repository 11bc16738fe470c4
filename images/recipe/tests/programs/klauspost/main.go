// Program klauspost writes its input as gzip with klauspost/compress, of the version that the module file says.
//
//	klauspost LEVEL BLOCK < in > out
//
// BLOCK is the size of pgzip's blocks; 0 for klauspost/compress by itself.
package main

import (
	"bufio"
	"io"
	"log"
	"os"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

func main() {
	level, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	block, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	buffered := bufio.NewWriter(os.Stdout)
	var out io.WriteCloser
	if block == 0 {
		out, err = gzip.NewWriterLevel(buffered, level)
	} else {
		var blocks *pgzip.Writer
		blocks, err = pgzip.NewWriterLevel(buffered, level)
		if err == nil {
			err = blocks.SetConcurrency(block, 2)
		}
		out = blocks
	}
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(out, os.Stdin); err != nil {
		log.Fatal(err)
	}
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
	if err := buffered.Flush(); err != nil {
		log.Fatal(err)
	}
}
