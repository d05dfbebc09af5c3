package servertest

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Exchange is the answer of AssumeRoleForPodIdentity with every member of the service's model.
type Exchange struct {
	Subject struct {
		Namespace      string `json:"namespace"`
		ServiceAccount string `json:"serviceAccount"`
	} `json:"subject"`
	Audience    string `json:"audience"`
	Association struct {
		ARN string `json:"associationArn"`
		ID  string `json:"associationId"`
	} `json:"podIdentityAssociation"`
	AssumedRoleUser struct {
		ARN string `json:"arn"`
		ID  string `json:"assumeRoleId"`
	} `json:"assumedRoleUser"`
	Credentials struct {
		AccessKeyID     string  `json:"accessKeyId"`
		SecretAccessKey string  `json:"secretAccessKey"`
		SessionToken    string  `json:"sessionToken"`
		Expiration      float64 `json:"expiration"`
	} `json:"credentials"`
}

// As is an AWS configuration with the credentials that the exchange gave.
func (e *Exchange) As(s *Server) aws.Config {
	return s.As(aws.Credentials{
		AccessKeyID: e.Credentials.AccessKeyID, SecretAccessKey: e.Credentials.SecretAccessKey, SessionToken: e.Credentials.SessionToken,
	})
}

// Expires is when the credentials do.
func (e *Exchange) Expires() time.Time { return time.UnixMilli(int64(e.Credentials.Expiration * 1000)) }

// ExchangeCall is the request by which a node agent exchanges a token, signed by the administrator unless changed.
func ExchangeCall(cluster, token string) Call {
	body, _ := json.Marshal(map[string]string{"token": token}) // a map of strings always encodes
	return Call{
		Service: "eks-auth", Method: http.MethodPost, Target: "/clusters/" + cluster + "/assume-role-for-pod-identity", Body: string(body),
	}
}

// Exchange exchanges a token, which must succeed.
func (s *Server) Exchange(cluster, token string) *Exchange {
	s.t.Helper()
	a := s.Send(ExchangeCall(cluster, token))
	if a.Status != http.StatusOK {
		s.t.Fatalf("exchanging a token: %d %s", a.Status, a.Body)
	}
	out := new(Exchange)
	a.JSON(s.t, out)
	return out
}

// ExchangeRefused exchanges a token, which must fail, and returns status and error.
func (s *Server) ExchangeRefused(cluster, token string) (int, Refusal) {
	s.t.Helper()
	a := s.Send(ExchangeCall(cluster, token))
	if a.Status == http.StatusOK {
		s.t.Fatal("exchanging a token succeeded")
	}
	return a.Status, s.Refusal(a)
}
