package s3front

import (
	"context"
	"encoding/hex"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/rclone/gofakes3"
)

// ListBucket implements [gofakes3.Backend]: keys in the order of their bytes, those that go on after the delimiter rolled up.
// A page begins after its marker, which may be a key or a rolled-up prefix that the page before ended with. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.
func (d *disk) ListBucket(_ context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage,
) (*gofakes3.ObjectList, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.buckets[name]
	if b == nil {
		return nil, gofakes3.BucketNotFound(name)
	}
	var want gofakes3.Prefix
	if prefix != nil {
		want = *prefix
	}
	left := page.MaxKeys
	if left <= 0 {
		left = math.MaxInt64
	}
	out := gofakes3.NewObjectList()
	last := ""
	for i := b.first(want.Prefix, page.Marker); i < len(b.keys) && strings.HasPrefix(b.keys[i], want.Prefix); {
		key := b.keys[i]
		group := rollUp(key, want.Prefix, want.Delimiter)
		next := i + 1
		if group != "" {
			next = i + sort.Search(len(b.keys)-i, func(n int) bool { return !strings.HasPrefix(b.keys[i+n], group) })
		}
		if group != "" && group == page.Marker {
			i = next
			continue
		}
		if left == 0 {
			out.IsTruncated, out.NextMarker = true, last
			break
		}
		if group != "" {
			out.AddPrefix(group)
			last = group
		} else {
			out.Add(b.objects[key].entry())
			last = key
		}
		left--
		i = next
	}
	return out, nil
}

// first returns the index of the first key that has the prefix (or follows all that have it) and comes after the marker.
func (b *bucket) first(prefix, marker string) int {
	if marker < prefix {
		i, _ := slices.BinarySearch(b.keys, prefix)
		return i
	}
	i, found := slices.BinarySearch(b.keys, marker)
	if found {
		i++
	}
	return i
}

// rollUp returns the common prefix that stands for a key in a listing: up to and with the first delimiter after the prefix.
// It is empty when the key stands for itself.
func rollUp(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return ""
	}
	return key[:len(prefix)+i+len(delimiter)]
}

func (o *object) entry() *gofakes3.Content {
	return &gofakes3.Content{
		Key: o.Key, Size: o.Size, LastModified: gofakes3.NewContentTime(o.ChangedAt),
		ETag: `"` + hex.EncodeToString(o.MD5) + `"`, StorageClass: gofakes3.StorageStandard,
	}
}
