// Package agent is the node agent: it answers the AWS SDKs of the pods on a node with credentials, which it gets from an EKS Auth
// API for the pods' service-account tokens. It stands in for Amazon's eks-pod-identity-agent and works against AWS as well as
// against podid.
//
// It owns the credentials endpoint, the limits of those who call it, the cache behind it that renews credentials before they expire,
// the line in which new tokens wait for their exchange, the one-operation EKS Auth client, and the probes and metrics. It verifies no token, for it has no keys: whether a token is genuine is upstream's to say,
// and only a token that upstream has accepted, byte for byte, is ever answered from the cache. It knows neither Kubernetes nor
// IAM, reads no flags and no environment, and does not set up network links.
package agent
