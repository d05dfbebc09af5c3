// Package link gives a node the two addresses on which pods look for the node agent, 169.254.170.23 and fd00:ec2::23, and takes
// them away again. It does what the initialize command of Amazon's eks-pod-identity-agent does, under the same name, so that either
// can run where the other has run.
//
// A pod's packets to such an address reach the node's network namespace by the pod's default route, and are delivered there because
// the address is local, whichever link it is on. So the kind of link does not matter: it is a dummy where the kernel has those, and
// otherwise what there is.
//
// It needs CAP_NET_ADMIN in the node's network namespace and Linux. It serves nothing.
package link

import "net/netip"

// Name is that of the link, as in Amazon's agent.
const Name = "pod-id-link0"

// The addresses that SDKs accept for credentials without TLS
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
var (
	IPv4 = netip.MustParseAddr("169.254.170.23")
	IPv6 = netip.MustParseAddr("fd00:ec2::23")
)
