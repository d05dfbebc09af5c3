package s3front

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rclone/gofakes3"
)

// target is what a request's path names.
type target int

const (
	onService target = iota // the path is /
	onBucket
	onObject
)

// operation is one operation of S3: how a request for it looks, and what its caller must be allowed to do.
type operation struct {
	name    string // as in the S3 API reference
	on      target
	method  string
	copies  bool     // the request has x-amz-copy-source
	needs   []string // query parameters that select the operation
	takes   []string // query parameters that it may have besides
	actions []string // on the bucket or object of the path

	bucketPolicy bool // it is about the bucket's policy, which gofakes3 knows nothing of
}

var (
	listing   = []string{"prefix", "delimiter", "max-keys", "encoding-type"}
	overrides = []string{
		"partNumber", "response-cache-control", "response-content-disposition", "response-content-encoding",
		"response-content-language", "response-content-type", "response-expires",
	}
)

// operations are all operations that are served. Which actions an operation needs is from
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html; what more a copy or tags need, and
// that each key of DeleteObjects needs s3:DeleteObject, is in the code that authorizes.
var operations = []operation{
	{name: "ListBuckets", on: onService, method: "GET", takes: []string{"prefix", "max-buckets", "continuation-token"},
		actions: []string{"s3:ListAllMyBuckets"}},

	{name: "CreateBucket", on: onBucket, method: "PUT", actions: []string{"s3:CreateBucket"}},
	{name: "DeleteBucket", on: onBucket, method: "DELETE", actions: []string{"s3:DeleteBucket"}},
	{name: "HeadBucket", on: onBucket, method: "HEAD", actions: []string{"s3:ListBucket"}},
	{name: "GetBucketLocation", on: onBucket, method: "GET", needs: []string{"location"}, actions: []string{"s3:GetBucketLocation"}},
	{name: "GetBucketVersioning", on: onBucket, method: "GET", needs: []string{"versioning"},
		actions: []string{"s3:GetBucketVersioning"}},
	{name: "ListObjects", on: onBucket, method: "GET", takes: append([]string{"marker"}, listing...),
		actions: []string{"s3:ListBucket"}},
	{name: "ListObjectsV2", on: onBucket, method: "GET", needs: []string{"list-type"},
		takes: append([]string{"continuation-token", "start-after", "fetch-owner"}, listing...), actions: []string{"s3:ListBucket"}},
	{name: "ListObjectVersions", on: onBucket, method: "GET", needs: []string{"versions"},
		takes: append([]string{"key-marker", "version-id-marker"}, listing...), actions: []string{"s3:ListBucketVersions"}},
	{name: "ListMultipartUploads", on: onBucket, method: "GET", needs: []string{"uploads"},
		takes:   []string{"prefix", "delimiter", "encoding-type", "key-marker", "upload-id-marker", "max-uploads"},
		actions: []string{"s3:ListBucketMultipartUploads"}},
	{name: "DeleteObjects", on: onBucket, method: "POST", needs: []string{"delete"}},
	{name: "PutBucketPolicy", on: onBucket, method: "PUT", needs: []string{"policy"}, actions: []string{"s3:PutBucketPolicy"}, bucketPolicy: true},
	{name: "GetBucketPolicy", on: onBucket, method: "GET", needs: []string{"policy"}, actions: []string{"s3:GetBucketPolicy"}, bucketPolicy: true},
	{name: "DeleteBucketPolicy", on: onBucket, method: "DELETE", needs: []string{"policy"}, actions: []string{"s3:DeleteBucketPolicy"},
		bucketPolicy: true},
	{name: "GetBucketPolicyStatus", on: onBucket, method: "GET", needs: []string{"policyStatus"},
		actions: []string{"s3:GetBucketPolicyStatus"}, bucketPolicy: true},

	{name: "GetObject", on: onObject, method: "GET", takes: overrides, actions: []string{"s3:GetObject"}},
	{name: "GetObject", on: onObject, method: "GET", needs: []string{"versionId"}, takes: overrides,
		actions: []string{"s3:GetObjectVersion"}},
	{name: "HeadObject", on: onObject, method: "HEAD", takes: overrides, actions: []string{"s3:GetObject"}},
	{name: "HeadObject", on: onObject, method: "HEAD", needs: []string{"versionId"}, takes: overrides,
		actions: []string{"s3:GetObjectVersion"}},
	{name: "GetObjectAttributes", on: onObject, method: "GET", needs: []string{"attributes"},
		actions: []string{"s3:GetObject", "s3:GetObjectAttributes"}},
	{name: "GetObjectTagging", on: onObject, method: "GET", needs: []string{"tagging"}, actions: []string{"s3:GetObjectTagging"}},
	{name: "PutObjectTagging", on: onObject, method: "PUT", needs: []string{"tagging"}, actions: []string{"s3:PutObjectTagging"}},
	{name: "DeleteObjectTagging", on: onObject, method: "DELETE", needs: []string{"tagging"},
		actions: []string{"s3:DeleteObjectTagging"}},
	{name: "PutObject", on: onObject, method: "PUT", actions: []string{"s3:PutObject"}},
	{name: "CopyObject", on: onObject, method: "PUT", copies: true, actions: []string{"s3:PutObject"}},
	{name: "DeleteObject", on: onObject, method: "DELETE", actions: []string{"s3:DeleteObject"}},
	{name: "DeleteObject", on: onObject, method: "DELETE", needs: []string{"versionId"}, actions: []string{"s3:DeleteObjectVersion"}},

	{name: "CreateMultipartUpload", on: onObject, method: "POST", needs: []string{"uploads"}, actions: []string{"s3:PutObject"}},
	{name: "UploadPart", on: onObject, method: "PUT", needs: []string{"partNumber", "uploadId"}, actions: []string{"s3:PutObject"}},
	{name: "UploadPartCopy", on: onObject, method: "PUT", copies: true, needs: []string{"partNumber", "uploadId"},
		actions: []string{"s3:PutObject"}},
	{name: "CompleteMultipartUpload", on: onObject, method: "POST", needs: []string{"uploadId"}, actions: []string{"s3:PutObject"}},
	{name: "AbortMultipartUpload", on: onObject, method: "DELETE", needs: []string{"uploadId"},
		actions: []string{"s3:AbortMultipartUpload"}},
	{name: "ListParts", on: onObject, method: "GET", needs: []string{"uploadId"}, takes: []string{"max-parts", "part-number-marker"},
		actions: []string{"s3:ListMultipartUploadParts"}},
}

// storesObject tells whether the body of a request is (a part of) an object. Other bodies are small XML documents.
func (op *operation) storesObject() bool { return op.name == "PutObject" || op.name == "UploadPart" }

// call is a request that was understood: everything that is judged and everything that is passed on.
type call struct {
	op          *operation
	bucket, key string
	query       url.Values  // the parameters of the operation, one value each
	header      http.Header // a copy; x-amz-* parameters of a presigned URL are here
	source      *source     // of a copy
	guard       guard       // of the keys that DeleteObjects names
}

// source is what a copy is made of.
type source struct{ bucket, key string }

func bucketARN(bucket string) string      { return "arn:aws:s3:::" + bucket }
func objectARN(bucket, key string) string { return "arn:aws:s3:::" + bucket + "/" + key }

// understand finds out what a request asks for. The path is taken as it was sent, so that keys keep their // and ..
func understand(r *http.Request, presigned bool) (*call, *refusal) {
	c := &call{header: r.Header.Clone()}
	on, err := c.readPath(r.URL.EscapedPath())
	if err != nil {
		return nil, err
	}
	if err := c.readQuery(r.URL.RawQuery, presigned); err != nil {
		return nil, err
	}
	copied := c.header.Values("X-Amz-Copy-Source")
	if len(copied) > 1 {
		return nil, errInvalidArgument("x-amz-copy-source must be given once.")
	}
	if len(copied) == 1 {
		if c.source, err = parseSource(copied[0]); err != nil {
			return nil, err
		}
	}
	return c, c.choose(on, r.Method)
}

// readPath takes a path apart: /bucket/key.
func (c *call) readPath(escaped string) (target, *refusal) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(escaped, "/"), "/")
	if bucket == "" && key == "" && escaped == "/" {
		return onService, nil
	}
	var err error
	if c.bucket, err = url.PathUnescape(bucket); err != nil {
		return 0, errURI()
	}
	if gofakes3.ValidateBucketName(c.bucket) != nil {
		e := refuse(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
		e.BucketName = c.bucket
		return 0, e
	}
	if key == "" {
		return onBucket, nil
	}
	c.key, err = url.PathUnescape(key)
	if err != nil {
		return 0, errURI()
	}
	return onObject, checkKey(c.key)
}

func errURI() *refusal {
	return refuse(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
}

// checkKey refuses what no object can be called: more than 1,024 bytes, or not UTF-8. See
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html.
func checkKey(key string) *refusal {
	if len(key) > gofakes3.KeySizeLimit {
		return refuse(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	}
	if !utf8.ValidString(key) {
		return errURI()
	}
	return nil
}

// readQuery takes the operation's parameters out of the query. Those of the signature were dealt with; other x-amz-* parameters
// of a presigned URL stand for headers of that name and become those. x-id repeats the operation's name for people reading logs.
func (c *call) readQuery(raw string, presigned bool) *refusal {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errURI()
	}
	c.query = make(url.Values, len(values))
	for name, vs := range values {
		lower := strings.ToLower(name)
		switch {
		case len(vs) > 1:
			return errInvalidArgument("The query parameter " + name + " must be given once.")
		case name == "x-id" || presigned && signatureParameters[lower]:
		case presigned && strings.HasPrefix(lower, "x-amz-"):
			if len(c.header.Values(name)) > 0 {
				return errInvalidArgument(name + " must be given as a header or a query parameter, not both.")
			}
			c.header.Set(name, vs[0])
		default:
			c.query[name] = vs
		}
	}
	return nil
}

// signatureParameters are the parameters of a presigned URL that belong to its signature.
var signatureParameters = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-expires": true, "x-amz-signedheaders": true,
	"x-amz-signature": true, "x-amz-security-token": true, "x-amz-content-sha256": true,
}

// choose finds the operation. Every parameter must be one that it knows: one that is passed over could have meant another
// operation, as PUT ?acl is not PutObject.
func (c *call) choose(on target, method string) *refusal {
	served := false
	for i := range operations {
		op := &operations[i]
		if op.on != on || op.method != method {
			continue
		}
		served = true
		if op.copies == (c.source != nil) && op.matches(c.query) {
			c.op = op
			return nil
		}
	}
	if served {
		return errNotImplemented()
	}
	return errMethodNotAllowed()
}

func (op *operation) matches(query url.Values) bool {
	for _, name := range op.needs {
		if !query.Has(name) {
			return false
		}
	}
	for name := range maps.Keys(query) {
		if !slices.Contains(op.needs, name) && !slices.Contains(op.takes, name) {
			return false
		}
	}
	return true
}

// parseSource reads x-amz-copy-source: bucket/key, percent-encoded, with or without a first slash. There is one version of
// everything here, the null one. See https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html.
func parseSource(header string) (*source, *refusal) {
	encoded, version, versioned := strings.Cut(header, "?")
	bucket, key, _ := strings.Cut(strings.TrimPrefix(encoded, "/"), "/")
	bucket, err := url.PathUnescape(bucket)
	if err == nil {
		key, err = url.QueryUnescape(key)
	}
	if err != nil || gofakes3.ValidateBucketName(bucket) != nil || key == "" {
		return nil, errInvalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	if versioned && version != "versionId=null" {
		return nil, errNotImplemented()
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return &source{bucket, key}, nil
}
