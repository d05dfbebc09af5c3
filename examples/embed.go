// Package examples holds the files that README and podid demo use: a role's policies and a pod.
package examples

import _ "embed"

// TrustPolicy lets EKS Pod Identity assume a role.
//
//go:embed trust-policy.json
var TrustPolicy string

// S3Read lets a role list the bucket demo and read its objects.
//
//go:embed s3-read.json
var S3Read string

// Pod is the manifest of the pod that runs list-files.
//
//go:embed list-files/pod.yaml
var Pod []byte
