package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The part of CycloneDX 1.6 that a bill of materials has here. It has neither a time nor a random
// number, so that the same source has the same bill.
type bom struct {
	Schema       string          `json:"$schema"`
	Format       string          `json:"bomFormat"`
	SpecVersion  string          `json:"specVersion"`
	SerialNumber string          `json:"serialNumber,omitempty"`
	Version      int             `json:"version"`
	Metadata     bomMetadata     `json:"metadata"`
	Components   []bomComponent  `json:"components"`
	Dependencies []bomDependency `json:"dependencies"`
}

type bomMetadata struct {
	Component bomComponent `json:"component"`
}

type bomComponent struct {
	Ref        string        `json:"bom-ref"`
	Type       string        `json:"type"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	PURL       string        `json:"purl"`
	Licenses   []bomLicense  `json:"licenses"`
	Properties []bomProperty `json:"properties,omitempty"`
}

// A bomLicense has an SPDX expression, which CycloneDX allows once.
type bomLicense struct {
	Expression      string `json:"expression"`
	Acknowledgement string `json:"acknowledgement"`
}

type bomProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type bomDependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// writeBOMs writes a bill of materials for each published module and for the daemon.
func writeBOMs(out, version string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, dir := range append(slices.Clone(published), daemon) {
		b, err := newBOM(".", dir, version)
		if err != nil {
			return err
		}
		data, err := b.encode()
		if err != nil {
			return err
		}
		file := filepath.Join(out, bomName(dir))
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s: %d components\n", file, len(b.Components))
	}
	return nil
}

// bomName returns the name of the file for the module in a directory.
func bomName(dir string) string {
	return strings.ReplaceAll(name(dir), "/", "-") + ".cdx.json"
}

// newBOM describes the module in a directory below root.
func newBOM(root, dir, version string) (*bom, error) {
	all, err := componentsOf(root, dir)
	if err != nil {
		return nil, err
	}
	b := &bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Components: []bomComponent{},
	}
	ref := func(c *component) string {
		if own(c.path) {
			return "pkg:golang/" + c.path + "@" + version
		}
		return "pkg:golang/" + c.path + "@" + strings.ReplaceAll(c.version, "+", "%2B")
	}
	for _, c := range sorted(all) {
		l, err := licenseOf(c, mayLink(dir)...)
		if err != nil {
			return nil, err
		}
		item := bomComponent{
			Ref: ref(c), Type: "library", Name: c.path, Version: c.version, PURL: ref(c),
			Licenses: []bomLicense{{strings.Join(l.kinds, " AND "), "concluded"}},
		}
		if own(c.path) {
			item.Version = version
		} else {
			item.Properties = []bomProperty{{"go.sum", c.sum}}
		}
		if c.path == modulePath(dir) {
			b.Metadata.Component = item
		} else {
			b.Components = append(b.Components, item)
		}
		needs := []string{}
		for _, path := range slices.Sorted(maps.Keys(c.needs)) {
			needs = append(needs, ref(all[path]))
		}
		b.Dependencies = append(b.Dependencies, bomDependency{ref(c), needs})
	}
	return b, nil
}

// encode returns the JSON of the bill. Its serial number is a UUID that is made from the rest.
func (b *bom) encode() ([]byte, error) {
	b.SerialNumber = ""
	for {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(b); err != nil || b.SerialNumber != "" {
			return buf.Bytes(), err
		}
		id := sha256.Sum256(buf.Bytes())
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 of RFC 9562
		b.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	}
}
