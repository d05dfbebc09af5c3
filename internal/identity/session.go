package identity

import "strings"

// PodSessionTags are the tags of a pod's session: for whom it is. All are transitive.
// See https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html.
func PodSessionTags(cluster *Cluster, pod Subject) []Tag {
	return []Tag{
		{Key: "eks-cluster-arn", Value: cluster.ARN()},
		{Key: "eks-cluster-name", Value: cluster.Name},
		{Key: "kubernetes-namespace", Value: pod.Namespace},
		{Key: "kubernetes-service-account", Value: pod.Name},
		{Key: "kubernetes-pod-name", Value: pod.PodName},
		{Key: "kubernetes-pod-uid", Value: pod.PodUID},
	}
}

// PodSessionName is the name of a pod's session, eks-<cluster>-<pod>-<UUID>. A session name has at most 64 characters, of which the
// UUID takes 36, so 10 of the cluster's name and 12 of the pod's are kept. Characters that session names may not have become "-".
func PodSessionName(cluster, pod, uuid string) string {
	name := []byte("eks-" + cluster[:min(len(cluster), 10)] + "-" + pod[:min(len(pod), 12)] + "-" + uuid)
	for i, c := range name {
		if !sessionNameByte(c) {
			name[i] = '-'
		}
	}
	return string(name)
}

// ValidExternalID tells whether s may be an external id: 2 to 1,224 characters of [\w+=,.@:/-].
func ValidExternalID(s string) bool {
	return 2 <= len(s) && len(s) <= 1224 && only(s, func(c byte) bool { return sessionNameByte(c) || strings.IndexByte(":/", c) >= 0 })
}
