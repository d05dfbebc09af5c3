package iam

import (
	"encoding/base64"
	"sort"
)

// page is the paging part of a list operation's input. The marker is the last key of the page before, so paging goes on rightly
// while others write.
type page struct {
	Marker   string `form:"Marker"`
	MaxItems *int32 `form:"MaxItems"`
}

// Validate refuses a MaxItems outside 1 to 1000 and a marker that no list operation gave out.
func (p *page) Validate() error {
	if p.MaxItems != nil && (*p.MaxItems < 1 || *p.MaxItems > 1000) {
		return errConstraint(*p.MaxItems, "maxItems", "Member must have value between 1 and 1000")
	}
	if _, err := base64.RawURLEncoding.DecodeString(p.Marker); err != nil || len(p.Marker) > 320 {
		return errValidation("Invalid Marker. Pass the Marker of the answer before, unchanged.")
	}
	return nil
}

func (p *page) limit() int {
	if p.MaxItems == nil {
		return 100
	}
	return int(*p.MaxItems)
}

// after is the key to go on after, below prefix; "" for the first page.
func (p *page) after(prefix string) string {
	if p.Marker == "" {
		return ""
	}
	key, _ := base64.RawURLEncoding.DecodeString(p.Marker) // checked by Validate
	return prefix + string(key)
}

// pageEnd is the paging part of a list operation's output.
type pageEnd struct {
	IsTruncated bool   `xml:"IsTruncated"`
	Marker      string `xml:"Marker,omitempty"`
}

func (p *pageEnd) truncate(lastKey string) {
	p.IsTruncated, p.Marker = true, base64.RawURLEncoding.EncodeToString([]byte(lastKey))
}

// paginate sorts items by key and returns one page of them.
func paginate[T any](items []T, in *page, out *pageEnd, key func(T) string) []T {
	items = append([]T(nil), items...)
	sort.Slice(items, func(i, j int) bool { return key(items[i]) < key(items[j]) })
	if after := in.after(""); after != "" {
		items = items[sort.Search(len(items), func(i int) bool { return key(items[i]) > after }):]
	}
	if len(items) > in.limit() {
		items = items[:in.limit()]
		out.truncate(key(items[len(items)-1]))
	}
	return items
}
