package main

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

// writeSeeds writes the corpus of each target to NAME_seed_corpus.zip in a folder, as OSS-Fuzz
// wants it.
func writeSeeds(root, dir string) error {
	targets, err := findTargets(root)
	if err != nil {
		return err
	}
	for _, t := range targets {
		entries, err := listEntries(filepath.Join(root, t.corpus()))
		if err == nil && len(entries) > 0 {
			err = writeArchive(filepath.Join(dir, t.name+"_seed_corpus.zip"), entries)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}

func writeArchive(name string, entries []entry) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := zip.NewWriter(file)
	for _, e := range entries {
		args, err := parseEntry(string(e.text))
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		seed, ok := args.seed()
		if !ok {
			continue
		}
		w, err := archive.Create(e.name)
		if err != nil {
			return err
		}
		if _, err := w.Write(seed); err != nil {
			return err
		}
	}
	return archive.Close()
}

// arguments are those of a target. OSS-Fuzz's adapter takes them from one input: first the numbers,
// which are big-endian, then one octet for each text, its weight, then the texts. The last text is
// what the others leave.
type arguments struct {
	numbers []byte
	texts   []string // also those of type []byte
}

// parseEntry reads an entry of a corpus of the go command.
func parseEntry(text string) (a arguments, err error) {
	const head = "go test fuzz v1\n"
	body, ok := strings.CutPrefix(text, head)
	if !ok {
		return a, errors.New("it does not begin as an entry of the go command")
	}
	for line := range strings.Lines(body) {
		expr := strings.TrimSpace(strings.Replace(line, "[]byte(", "string(", 1))
		v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expr)
		if err != nil {
			return a, err
		}
		switch v.Type {
		case types.Typ[types.String]:
			a.texts = append(a.texts, constant.StringVal(v.Value))
		case types.Typ[types.Bool]:
			octet := byte(0)
			if constant.BoolVal(v.Value) {
				octet = 1
			}
			a.numbers = append(a.numbers, octet)
		case types.Typ[types.Uint8], types.Universe.Lookup("byte").Type():
			n, _ := constant.Int64Val(v.Value)
			a.numbers = append(a.numbers, byte(n))
		case types.Typ[types.Int64]:
			n, _ := constant.Int64Val(v.Value)
			a.numbers = binary.BigEndian.AppendUint64(a.numbers, uint64(n))
		default:
			return a, fmt.Errorf("it has an argument of type %v: see what OSS-Fuzz does with it", v.Type)
		}
	}
	return a, nil
}

// seed returns the input from which OSS-Fuzz's adapter takes the arguments. There is none for some
// with a long text beside a short one: a weight of 1 beside 255 gives the short one too much.
func (a arguments) seed() (seed []byte, ok bool) {
	weights, ok := weigh(a.texts)
	seed = append(append(seed, a.numbers...), weights...)
	return append(seed, strings.Join(a.texts, "")...), ok
}

// weigh returns weights by which texts have their lengths: all but the last one get their part of
// all octets, rounded down.
func weigh(texts []string) (weights []byte, ok bool) {
	if len(texts) == 0 {
		return nil, true
	}
	total := len(strings.Join(texts, ""))
	for sum := 1; sum <= 255*len(texts); sum++ {
		weights, left := weights[:0], sum
		for _, text := range texts[:len(texts)-1] {
			w := 0
			if total > 0 {
				w = (len(text)*sum + total - 1) / total // the least that may be enough
			}
			if w > 255 || w > left || total*w/sum != len(text) {
				break
			}
			weights, left = append(weights, byte(w)), left-w
		}
		if len(weights) == len(texts)-1 && left <= 255 {
			return append(weights, byte(left)), true
		}
	}
	return nil, false
}
