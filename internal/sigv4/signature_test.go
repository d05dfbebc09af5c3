package sigv4

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid/podid/internal/identity"
)

const (
	goodHeader = "AWS4-HMAC-SHA256 Credential=" + testKeyID + "/20240131/us-west-2/eks/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + emptyHash
	goodQuery  = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + testKeyID + "%2F20240131%2Fus-west-2%2Fs3%2Faws4_request" +
		"&X-Amz-Date=20240131T235959Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=a%2Bb&X-Amz-Signature=" + emptyHash
)

// headerRequest and queryRequest are signed requests, in form only.
func headerRequest(authorization string) *http.Request {
	r, _ := http.NewRequest("GET", "http://podid.example.com/clusters", nil)
	r.Header = http.Header{"Authorization": {authorization}, "X-Amz-Date": {"20240131T235959Z"}}
	return r
}

func queryRequest(query string) *http.Request {
	r, _ := http.NewRequest("GET", "http://podid.example.com/demo", nil)
	r.URL.RawQuery = query
	return r
}

func TestParse(t *testing.T) {
	ignore := cmpopts.IgnoreFields(Signature{}, "timestamp", "scope", "mac")
	got, err := Parse(headerRequest(goodHeader))
	if err != nil {
		t.Fatal(err)
	}
	want := &Signature{
		AccessKeyID: testKeyID, Date: "20240131", Region: "us-west-2", Service: "eks", Time: testTime,
		SignedHeaders: []string{"host", "x-amz-date"},
	}
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("header: (-want +got)\n%s", diff)
	}
	got, err = Parse(queryRequest(goodQuery))
	if err != nil {
		t.Fatal(err)
	}
	want = &Signature{
		AccessKeyID: testKeyID, Date: "20240131", Region: "us-west-2", Service: "s3", Time: testTime,
		SignedHeaders: []string{"host"}, SecurityToken: "a+b", Presigned: true, Expires: time.Minute,
	}
	if diff := cmp.Diff(want, got, ignore); diff != "" || got.SecurityToken.Reveal() != "a+b" {
		t.Errorf("query: (-want +got)\n%s", diff)
	}
	for _, shown := range []string{fmt.Sprintf("%+v %#v", got, *got), fmt.Sprint(DeriveKey(testSecret, "a", "b", "c"))} {
		if strings.Contains(shown, "a+b") || !strings.Contains(shown, "[redacted]") {
			t.Errorf("a secret shows in %s", shown)
		}
	}
}

func TestParseWithDateHeader(t *testing.T) {
	for _, date := range []string{"Wed, 31 Jan 2024 23:59:59 GMT", "20240131T235959Z"} {
		r := headerRequest(strings.Replace(goodHeader, "host;x-amz-date", "date;host", 1))
		r.Header = http.Header{"Authorization": r.Header["Authorization"], "Date": {date}}
		if s, err := Parse(r); err != nil || !s.Time.Equal(testTime) {
			t.Errorf("%s: %+v, %v", date, s, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	header := func(old, new string) *http.Request { return headerRequest(strings.Replace(goodHeader, old, new, 1)) }
	query := func(old, new string) *http.Request { return queryRequest(strings.Replace(goodQuery, old, new, 1)) }
	with := func(r *http.Request, name string, values ...string) *http.Request {
		r.Header[name] = values
		return r
	}
	tests := map[string]struct {
		r    *http.Request
		want string // in the reason; empty for ErrMissing
	}{
		"nothing":                    {queryRequest("a=b"), ""},
		"token alone":                {with(queryRequest(""), "X-Amz-Security-Token", "x"), ""},
		"empty authorization":        {headerRequest(""), "algorithm"},
		"bearer":                     {headerRequest("Bearer x"), "algorithm"},
		"sigv4a":                     {header("HMAC-SHA256", "ECDSA-P256-SHA256"), "algorithm"},
		"algorithm alone":            {headerRequest(algorithm), "'Credential'"},
		"no credential":              {header("Credential", "X"), "'Credential'"},
		"no signature":               {header(", Signature="+emptyHash, ""), "'Signature'"},
		"no signed headers":          {header(" SignedHeaders=host;x-amz-date,", ""), "'SignedHeaders'"},
		"credential twice":           {headerRequest(goodHeader + ", Credential=x"), "once each"},
		"another part":               {headerRequest(goodHeader + ", A=b"), "once each"},
		"short scope":                {header("/eks/", "/"), "slash-delimited"},
		"long scope":                 {header("/eks/", "/eks/eks/"), "slash-delimited"},
		"other terminator":           {header("aws4_request", "aws5_request"), "slash-delimited"},
		"empty key id":               {header(testKeyID, ""), "slash-delimited"},
		"odd key id":                 {header(testKeyID, "AKIA.."), "slash-delimited"},
		"long key id":                {header(testKeyID, strings.Repeat("A", 129)), "slash-delimited"},
		"odd region":                 {header("us-west-2", "us west"), "slash-delimited"},
		"empty region":               {header("us-west-2", ""), "slash-delimited"},
		"other date":                 {header("20240131", "20240130"), "does not match"},
		"no date":                    {with(header("x", "x"), "X-Amz-Date"), "'X-Amz-Date'"},
		"bad date":                   {with(header("x", "x"), "X-Amz-Date", "2024-01-31T23:59:59Z"), "ISO-8601"},
		"impossible date":            {with(header("x", "x"), "X-Amz-Date", "20240132T235959Z"), "ISO-8601"},
		"date with a fraction":       {with(header("x", "x"), "X-Amz-Date", "20240131T235959.5Z"), "ISO-8601"},
		"date twice":                 {with(header("x", "x"), "X-Amz-Date", "20240131T235959Z", "20240131T235959Z"), "more than once"},
		"token twice":                {with(header("x", "x"), "X-Amz-Security-Token", "a", "b"), "more than once"},
		"hash twice":                 {with(header("x", "x"), "X-Amz-Content-Sha256", "a", "b"), "more than once"},
		"authorization twice":        {with(header("x", "x"), "Authorization", goodHeader, goodHeader), "Only one"},
		"short signature":            {header(emptyHash, emptyHash[2:]), "64"},
		"signature of no hex":        {header(emptyHash, "z"+emptyHash[1:]), "64"},
		"upper-case signature":       {header(emptyHash, strings.ToUpper(emptyHash)), "64"},
		"host not signed":            {header("host;", ""), "'Host'"},
		"signed headers unsorted":    {header("host;x-amz-date", "x-amz-date;host"), "sorted"},
		"signed headers twice":       {header("host;", "host;host;"), "sorted"},
		"signed headers upper":       {header("host;", "Host;"), "sorted"},
		"signed headers empty":       {header("host;", "host;;"), "sorted"},
		"date not signed":            {header(";x-amz-date", ""), "not signed: x-amz-date"},
		"token not signed":           {with(header("x", "x"), "X-Amz-Security-Token", "a"), "not signed: x-amz-security-token"},
		"amz header not signed":      {with(header("x", "x"), "X-Amz-Acl", "a"), "not signed: x-amz-acl"},
		"long authorization":         {headerRequest(goodHeader + strings.Repeat(" ", maxAuthorization)), "too long"},
		"long query":                 {queryRequest(goodQuery + "&a=" + strings.Repeat("a", maxQuery)), "too long"},
		"header and query":           {with(queryRequest(goodQuery), "Authorization", goodHeader), "Only one"},
		"query signature alone":      {queryRequest("X-Amz-Signature=" + emptyHash), "algorithm"},
		"query: no algorithm":        {query("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""), "algorithm"},
		"query: other algorithm":     {query("HMAC-SHA256", "HMAC-SHA1"), "algorithm"},
		"query: no credential":       {query("Credential", "X"), "'Credential'"},
		"query: no signature":        {query("X-Amz-Signature", "X"), "'Signature'"},
		"query: no signed headers":   {query("X-Amz-SignedHeaders", "X"), "'SignedHeaders'"},
		"query: no date":             {query("X-Amz-Date", "X"), "'X-Amz-Date'"},
		"query: twice":               {queryRequest(goodQuery + "&X-Amz-Expires=61"), "more than once"},
		"query: twice, once encoded": {queryRequest(goodQuery + "&X-Amz-%45xpires=61"), "more than once"},
		"query: malformed":           {queryRequest(goodQuery + "&a=%zz"), "percent-encoding"},
		"query: S3 without expires":  {query("X-Amz-Expires", "X"), "X-Amz-Expires"},
		"query: expires 0":           {query("Expires=60", "Expires=0"), "X-Amz-Expires"},
		"query: expires -1":          {query("Expires=60", "Expires=-1"), "X-Amz-Expires"},
		"query: expires in 8 days":   {query("Expires=60", "Expires=691200"), "X-Amz-Expires"},
		"query: token in a header":   {with(queryRequest(goodQuery), "X-Amz-Security-Token", "x"), "must be in the query"},
		"query: header not signed":   {with(queryRequest(goodQuery), "X-Amz-Acl", "x"), "not signed: x-amz-acl"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(tt.r)
			if s != nil {
				t.Errorf("got a signature with the error")
			}
			var incomplete *IncompleteError
			switch {
			case tt.want == "" && err != ErrMissing:
				t.Errorf("got %v, want ErrMissing", err)
			case tt.want != "" && (!errors.As(err, &incomplete) || !strings.Contains(incomplete.Reason, tt.want)):
				t.Errorf("got %v, want an IncompleteError with %q", err, tt.want)
			}
		})
	}
}

func TestVerifyWindow(t *testing.T) {
	get := func(service string) *http.Request { return message{method: "GET", path: "/", service: service}.sign(t) }
	presigned := func(service, expires string) *http.Request {
		return message{method: "GET", path: "/", service: service, expires: expires}.presign(t)
	}
	tests := []struct {
		name        string
		r           *http.Request
		from, until time.Duration // of acceptance, around the time of signing
	}{
		{"sts", get("sts"), -5 * time.Minute, 5 * time.Minute},
		{"s3", get("s3"), -15 * time.Minute, 15 * time.Minute},
		{"sts presigned", presigned("sts", ""), -5 * time.Minute, 15 * time.Minute},
		{"sts presigned for a minute", presigned("sts", "60"), -5 * time.Minute, 15 * time.Minute},
		{"sts presigned for a week", presigned("sts", "604800"), -5 * time.Minute, 15 * time.Minute},
		{"s3 presigned", presigned("s3", "60"), -15 * time.Minute, time.Minute},
		{"s3 presigned for a week", presigned("s3", "604800"), -15 * time.Minute, 7 * 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, offset := range []time.Duration{tt.from, 0, tt.until} {
				if err := verify(tt.r, testTime.Add(offset)); err != nil {
					t.Errorf("after %v: %v", offset, err)
				}
			}
			for _, offset := range []time.Duration{tt.from - time.Second, tt.until + time.Second} {
				err := verify(tt.r, testTime.Add(offset))
				var expired *ExpiredError
				if !errors.As(err, &expired) || expired.NotYet() != (offset < 0) || expired.Presigned != strings.Contains(tt.name, "presigned") {
					t.Errorf("after %v: got %v, want an ExpiredError", offset, err)
				}
			}
		})
	}
}

func TestExpiredErrorText(t *testing.T) {
	signed := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		now    time.Time
		window time.Duration
		want   string
	}{
		{
			signed.Add(10*time.Minute + time.Second), 5 * time.Minute,
			"Signature expired: 20240101T000000Z is now earlier than 20240101T000501Z (20240101T001001Z - 5 min.)",
		},
		{
			signed.Add(-10 * time.Minute), 5 * time.Minute,
			"Signature not yet current: 20240101T000000Z is still later than 20231231T235500Z (20231231T235000Z + 5 min.)",
		},
		{
			signed.Add(100 * time.Second), 90 * time.Second,
			"Signature expired: 20240101T000000Z is now earlier than 20240101T000010Z (20240101T000140Z - 90 sec.)",
		},
	}
	for _, tt := range tests {
		if got := (&ExpiredError{Time: signed, Now: tt.now, Window: tt.window}).Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestPayloadHash checks that the body is bound by the hash the caller computes, not by the one the request claims.
func TestPayloadHash(t *testing.T) {
	m := message{method: "POST", path: "/", service: "sts", body: "Action=GetCallerIdentity"}
	verifyHash := func(sent, computed string) error {
		m.header = http.Header{}
		if sent != "" {
			m.header.Set("X-Amz-Content-Sha256", sent)
		}
		r := m.sign(t)
		s, err := Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		return s.Verify(r, DeriveKey(testSecret, s.Date, s.Region, s.Service), computed, testTime)
	}
	own := hashOf(m.body)
	tests := []struct {
		sent, computed string
		want           error
	}{
		{"", own, nil},
		{own, own, nil},
		{"", hashOf("other"), ErrMismatch},
		{own, hashOf("other"), ErrMismatch},
		{hashOf("other"), own, ErrMismatch},
		{UnsignedPayload, own, ErrMismatch}, // the signer of the SDK signs the hash it is given, whatever the header says
		{"", UnsignedPayload, ErrMismatch},
	}
	for _, tt := range tests {
		if err := verifyHash(tt.sent, tt.computed); err != tt.want {
			t.Errorf("sent %q, computed %q: got %v, want %v", tt.sent, tt.computed, err, tt.want)
		}
	}
}

// TestPresignedGetCallerIdentity verifies what "aws eks get-token" makes: a presigned request that names the cluster in a header.
func TestPresignedGetCallerIdentity(t *testing.T) {
	m := message{
		method: "GET", path: "/", query: "Action=GetCallerIdentity&Version=2011-06-15", service: "sts", token: "session/token==",
		header: http.Header{"x-k8s-aws-id": {"prod"}}, expires: "60",
	}
	r := m.presign(t)
	if err := verify(r, testTime.Add(14*time.Minute)); err != nil {
		t.Error(err)
	}
	s, err := Parse(r)
	if err != nil || s.SecurityToken.Reveal() != m.token || s.Expires != time.Minute {
		t.Errorf("got %+v, %v", s, err)
	}
	r.Header.Set("X-K8s-Aws-Id", "other")
	if err := verify(r, testTime); err != ErrMismatch {
		t.Errorf("for another cluster: got %v, want ErrMismatch", err)
	}
}

// TestMalformedEncoding checks that a percent sign that encodes nothing is refused, and not taken for an encoded one: the two
// requests would share a signature.
func TestMalformedEncoding(t *testing.T) {
	for _, query := range []string{"a=%zz", "%zz=a", "a=%", "a=%2", "a=b&c=%2"} {
		r := headerRequest(goodHeader)
		r.URL.RawQuery = query
		var c canonical
		if c.request(r, &Signature{}, emptyHash) {
			t.Errorf("%s: accepted", query)
		}
	}
}

func TestScopeService(t *testing.T) {
	tests := map[string]*http.Request{
		"eks":      headerRequest(goodHeader),
		"s3":       queryRequest("a=b&" + goodQuery),
		"eks-auth": headerRequest(algorithm + " Credential=a/b/c/eks-auth/aws4_request,SignedHeaders=x"),
	}
	for want, r := range tests {
		if got := ScopeService(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, r := range []*http.Request{
		queryRequest(""), queryRequest("X-Amz-Credential=%zz"), queryRequest("X-Amz-Credential=a"), headerRequest("Bearer Credential=a/b/c/s3/aws4_request"),
		headerRequest(algorithm + " Credential=a/b/c/s3"), headerRequest(""),
	} {
		if got := ScopeService(r); got != "" {
			t.Errorf("%v %s: got %q, want nothing", r.Header, r.URL, got)
		}
	}
}

func TestKeys(t *testing.T) {
	k := NewKeys(8)
	check := func(secret identity.Secret, region string) {
		t.Helper()
		if got := k.Derive(secret, "20240131", region, "eks"); [32]byte(got) != [32]byte(DeriveKey(secret, "20240131", region, "eks")) {
			t.Errorf("wrong key for secret %q in %s", secret.Reveal(), region)
		}
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 200 {
				check("one", fmt.Sprint("region-", i%20))
				check("two", "region-1")
				check("one", "region-1")
			}
		})
	}
	group.Wait()
	if n := len(k.young) + len(k.old); n > 8 {
		t.Errorf("holds %d keys, want at most 8", n)
	}
	k.young[derivation{"one", "20240131", "region-1", "eks"}] = Key{9}
	if k.Derive("one", "20240131", "region-1", "eks") != (Key{9}) {
		t.Error("a remembered key was derived again")
	}
	check("two", "region-1")
}
