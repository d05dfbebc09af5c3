package webhook

import (
	"net/netip"
	"net/url"
	"strings"
)

// windows tells whether the pod's containers see paths as Windows does.
func (p *pod) windows() bool {
	for _, label := range []string{"kubernetes.io/os", "beta.kubernetes.io/os"} {
		if p.Spec.NodeSelector[label] == "windows" {
			return true
		}
	}
	return p.Spec.OS.Name == "windows"
}

// virtual tells whether the pod is for nodes that are no machines, and so have no DaemonSets: Fargate's, and others that
// Virtual Kubelet stands for.
// See https://docs.aws.amazon.com/eks/latest/userguide/fargate.html and https://virtual-kubelet.io/docs/usage/.
func (p *pod) virtual() bool {
	const computeType, fargate, provider = "eks.amazonaws.com/compute-type", "fargate", "virtual-kubelet.io/provider"
	if value, _ := p.label(computeType); value == fargate {
		return true
	}
	if _, ok := p.label("eks.amazonaws.com/fargate-profile"); ok {
		return true
	}
	for _, toleration := range p.Spec.Tolerations {
		if toleration.Key == computeType || toleration.Key == provider {
			return true
		}
	}
	return p.Spec.NodeSelector[computeType] == fargate || p.Spec.NodeSelector["type"] == "virtual-kubelet" ||
		strings.HasPrefix(p.Spec.SchedulerName, fargate)
}

// withoutAgent names a place that the pod may run in if a node agent cannot be reached from there; empty: it can. An agent
// that is reached over a network, or at a loopback address inside the pod, is reached from everywhere.
func (p *pod) withoutAgent(s Settings) string {
	host := agentHost(s.CredentialsFullURI)
	if ip, err := netip.ParseAddr(host); host != eksIPv6 && (err != nil || !ip.IsLinkLocalUnicast()) {
		return ""
	}
	switch {
	case p.windows():
		return "on a Windows node"
	case p.virtual():
		return "on Fargate or another virtual node"
	case p.Spec.HostNetwork && s.HostNetworkWithoutAgent:
		return "in the host's network"
	}
	return ""
}

// The addresses of EKS's node agent.
const eksIPv4, eksIPv6 = "169.254.170.23", "fd00:ec2::23"

// agentHost is the host of the agent's URI, without port and brackets.
func agentHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil { // cannot be: the settings were validated
		return ""
	}
	return u.Hostname()
}
