package wire

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleInput has every shape that inputs have.
type sampleInput struct {
	sampleBase
	Name *string `form:"Name"`
	Tags []struct {
		Key   string `form:"Key"`
		Value string `form:"Value"`
	} `form:"Tags"`
	PolicyARNs []struct {
		ARN string `form:"arn"`
	} `form:"PolicyArns"`
	Entries []struct {
		Name   string   `form:"ContextKeyName"`
		Values []string `form:"ContextKeyValues"`
	} `form:"ContextEntries"`
	Flag *bool `form:"Flag"`
}

type sampleBase struct {
	Count *int32   `form:"Count"`
	Keys  []string `form:"Keys"`
}

// decodeSample takes a form the way of every request.
func decodeSample(source string) (*sampleInput, error) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	values, err := parseForm(r, []byte(source))
	if err != nil {
		return nil, err
	}
	in := &sampleInput{}
	return in, query{}.decode(in, params{query: values}, nil)
}

func TestForm(t *testing.T) {
	in, err := decodeSample("Name=&Count=-7&Keys.member.1=a&Keys.member.2=&Flag=true&Unknown.member.1.X=y&Tags.member.1.Key=k&Tags.member.1.Value=v%20%26%3D%2B+" +
		"&Tags.member.2.Key=l&PolicyArns.member.1.arn=arn%3Aaws&ContextEntries.member.1.ContextKeyName=n&ContextEntries.member.1.ContextKeyValues.member.1=x&ContextEntries.member.1.ContextKeyValues.member.2=y" +
		"&Keys.member.4=behind+a+gap&Keys.member.01=another+spelling&Keys.member.0=zero")
	if err != nil {
		t.Fatal(err)
	}
	if in.Name == nil || *in.Name != "" || *in.Count != -7 || !*in.Flag {
		t.Errorf("scalars %v %v %v", in.Name, in.Count, in.Flag)
	}
	if diff := cmp.Diff([]string{"a", ""}, in.Keys); diff != "" {
		t.Error(diff)
	}
	if len(in.Tags) != 2 || in.Tags[0].Value != "v &=+ " || in.Tags[1].Key != "l" || in.PolicyARNs[0].ARN != "arn:aws" {
		t.Errorf("structures %+v %+v", in.Tags, in.PolicyARNs)
	}
	if len(in.Entries) != 1 || !cmp.Equal(in.Entries[0].Values, []string{"x", "y"}) {
		t.Errorf("lists in structures %+v", in.Entries)
	}
	for _, empty := range []string{"", "Tags=&Keys=&PolicyArns="} {
		if in, err := decodeSample(empty); err != nil || in.Name != nil || len(in.Tags)+len(in.Keys)+len(in.PolicyARNs) > 0 {
			t.Errorf("%q: %+v %v", empty, in, err)
		}
	}
	for name, source := range map[string]string{
		"twice":              "Name=a&Name=b",
		"twice by spelling":  "Name=a&N%61me=b",
		"number":             "Count=x",
		"number over 32 bit": "Count=2147483648",
		"number with rest":   "Count=1;2",
		"boolean":            "Flag=maybe",
		"escape":             "Name=%zz",
		"many members":       strings.Repeat("&", 1000),
		"long name":          strings.Repeat(".", 257) + "=x",
	} {
		in, err := decodeSample(source)
		if e, ok := err.(*Error); !ok || e.Code != "MalformedInput" || e.Status != 400 {
			t.Errorf("%s: %+v %v", name, in, err)
		}
	}
}

// Decoding never panics, keeps to its bounds, and reads what SDKs would have written of the same values.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"Action=AssumeRole&Version=2011-06-15&Name=x&Count=900", "Tags=", "Tags.member.1.Key=a&Tags.member.1.Value=b", "PolicyArns.member.1.arn=arn%3Aaws%3Aiam",
		"Keys.member.1=a&Keys.member.2=b&Keys.member.9=c", "ContextEntries.member.1.ContextKeyValues.member.1=x", "Name=a&Name=b", "Flag=1&Count=99999999999", "....=.&%00=%ff;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		in, err := decodeSample(source)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("%q is a fault: %v", source, err)
			}
			return
		}
		if n := len(in.Keys) + len(in.Tags) + len(in.PolicyARNs) + len(in.Entries); n > maxFormMembers {
			t.Fatalf("%d members out of a form of %d bytes", n, len(source))
		}
		form := url.Values{}
		encode("", reflect.ValueOf(in).Elem(), form)
		again, err := decodeSample(form.Encode())
		if err != nil {
			t.Fatalf("%q, written again, is refused: %v", source, err)
		}
		if diff := cmp.Diff(in, again, cmp.AllowUnexported(sampleInput{})); diff != "" {
			t.Fatalf("%q, written again, is another: %s", source, diff)
		}
	})
}

// encode writes a structure as SDKs do.
func encode(prefix string, v reflect.Value, form url.Values) {
	_ = eachField(v, func(field reflect.StructField, value reflect.Value) error {
		encodeValue(prefix+field.Tag.Get("form"), value, form)
		return nil
	})
}

func encodeValue(name string, v reflect.Value, form url.Values) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			encodeValue(name, v.Elem(), form)
		}
	case reflect.Struct:
		encode(name+".", v, form)
	case reflect.Slice:
		for i := range v.Len() {
			encodeValue(name+".member."+strconv.Itoa(i+1), v.Index(i), form)
		}
	default:
		form.Set(name, fmt.Sprint(v.Interface()))
	}
}
