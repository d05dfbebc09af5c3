package identity

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxTags is how many tags a resource or a session may have.
const MaxTags = 50

// CheckTags tells what is wrong with a list of tags: more than 50, a key of 0 or more than 128 characters, a value of more
// than 256, a character that tags may not have, the prefix aws:, or two keys that differ only in case.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html.
func CheckTags(tags []Tag) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("there are %d tags; at most %d are allowed", len(tags), MaxTags)
	}
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		folded := strings.ToLower(tag.Key)
		switch {
		case tag.Key == "" || utf8.RuneCountInString(tag.Key) > 128:
			return fmt.Errorf("tag key %q must have 1 to 128 characters", tag.Key)
		case utf8.RuneCountInString(tag.Value) > 256:
			return fmt.Errorf("the value of tag %q must have at most 256 characters", tag.Key)
		case !ValidTagText(tag.Key) || !ValidTagText(tag.Value):
			return fmt.Errorf("tag %q has a character that is not a letter, a digit, white space or one of _ . : / = + - @", tag.Key)
		case strings.HasPrefix(folded, "aws:"):
			return fmt.Errorf("tag key %q must not begin with the prefix aws:, which is reserved", tag.Key)
		case seen[folded]:
			return fmt.Errorf("tag key %q is given more than once; keys are the same without regard to case", tag.Key)
		}
		seen[folded] = true
	}
	return nil
}

// FindTag returns the position of the tag with that key, without regard to case, or -1.
func FindTag(tags []Tag, key string) int {
	return slices.IndexFunc(tags, func(t Tag) bool { return strings.EqualFold(t.Key, key) })
}

// TagList turns a resource's tag map into a list in key order.
func TagList(tags map[string]string) []Tag {
	list := make([]Tag, 0, len(tags))
	for key, value := range tags {
		list = append(list, Tag{key, value})
	}
	slices.SortFunc(list, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return list
}
