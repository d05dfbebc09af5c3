//lint:file-ignore SA1019 the successor of PackedPolicySize is not served yet, and older clients know only PackedPolicySize

package sts_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/token"
)

var carts = identity.ServiceAccount{Namespace: "carts", Name: "carts"}

const stsAudience = "sts.amazonaws.com"

// provide makes the account accept an issuer's tokens and returns the provider's ARN.
func provide(t *testing.T, s *servertest.Server, issuer string, clients ...string) string {
	t.Helper()
	out, err := iam.NewFromConfig(s.Admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: &issuer, ClientIDList: clients})
	if err != nil {
		t.Fatal(err)
	}
	return *out.OpenIDConnectProviderArn
}

// exchange is AssumeRoleWithWebIdentity without any credentials, as pods call it.
func exchange(t *testing.T, s *servertest.Server, role, raw string, change func(*sts.AssumeRoleWithWebIdentityInput)) (aws.Config, *sts.AssumeRoleWithWebIdentityOutput, error) {
	t.Helper()
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("app"), WebIdentityToken: &raw}
	if change != nil {
		change(in)
	}
	anonymous := s.Admin
	anonymous.Credentials = aws.AnonymousCredentials{}
	out, err := sts.NewFromConfig(anonymous).AssumeRoleWithWebIdentity(t.Context(), in)
	if err != nil {
		return aws.Config{}, nil, err
	}
	return s.As(aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	}), out, nil
}

// The story of IRSA on the built-in cluster.
func TestIRSA(t *testing.T) {
	clock := &servertest.Clock{}
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = clock.Now })
	cluster, err := eks.NewFromConfig(s.Admin).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String(servertest.Cluster)})
	if err != nil {
		t.Fatal(err)
	}
	issuer := *cluster.Cluster.Identity.Oidc.Issuer
	_, host, _ := strings.Cut(issuer, "://")
	provider := provide(t, s, issuer, stsAudience)
	if want := "arn:aws:iam::111122223333:oidc-provider/" + host; provider != want {
		t.Errorf("provider %s, want %s", provider, want)
	}
	arn := s.MakeRole("carts", servertest.Trust(`{"Federated":"`+provider+`"}`, `"sts:AssumeRoleWithWebIdentity"`,
		`{"StringEquals":{"`+host+`:sub":"system:serviceaccount:carts:carts","`+host+`:aud":"sts.amazonaws.com"}}`),
		servertest.Allow(`"s3:CreateBucket"`, "*", `{"StringEquals":{"aws:FederatedProvider":"`+provider+`","`+host+`:sub":"system:serviceaccount:carts:carts"}}`))
	raw := s.TokenFor(servertest.Cluster, carts, "carts-1", stsAudience)

	session, out, err := exchange(t, s, arn, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *out.SubjectFromWebIdentityToken != "system:serviceaccount:carts:carts" || *out.Audience != stsAudience || *out.Provider != provider ||
		*out.AssumedRoleUser.Arn != "arn:aws:sts::111122223333:assumed-role/carts/app" || out.PackedPolicySize != nil {
		t.Errorf("%+v", out)
	}
	if err := buckets(t, session).create("carts-data"); err != nil {
		t.Errorf("what the web identity may: %v", err)
	}
	servertest.WantRefused(t, buckets(t, session).list("carts-data"), "AccessDenied", 403)
	entries := s.Audit()
	for _, entry := range entries {
		if entry["operation"] == "AssumeRoleWithWebIdentity" && entry["caller"] != provider+" system:serviceaccount:carts:carts" {
			t.Errorf("audit entry %v", entry)
		}
	}

	parts := strings.Split(raw, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(payload), `carts:carts`, `carts:admin`))) + "." + parts[2]
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	closed := s.MakeRole("closed", servertest.TrustAdmin, "")
	other := identity.ServiceAccount{Namespace: "carts", Name: "other"}
	const unauthorized = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
	for name, tt := range map[string]struct {
		role, raw, code string
		status          int
		want            string
	}{
		"wrong sub":          {arn, s.TokenFor(servertest.Cluster, other, "p", stsAudience), "AccessDenied", 403, unauthorized},
		"role trusts others": {closed, raw, "AccessDenied", 403, unauthorized},
		"no role":            {servertest.RoleARN("missing"), raw, "AccessDenied", 403, unauthorized},
		"wrong audience":     {arn, s.TokenFor(servertest.Cluster, carts, "p", "pods.eks.amazonaws.com"), "InvalidIdentityToken", 400, "Incorrect token audience"},
		"no provider":        {arn, s.TokenFor(servertest.Other, carts, "p", stsAudience), "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for http://"},
		"provider elsewhere": {"arn:aws:iam::444455556666:role/carts", raw, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for " + issuer},
		"forged":             {arn, forged, "InvalidIdentityToken", 400, "The web identity token provided could not be validated"},
		"without signature":  {arn, unsigned, "InvalidIdentityToken", 400, ""},
		"not a token":        {arn, "abcdefgh", "InvalidIdentityToken", 400, ""},
		"too short":          {arn, "abc", "ValidationError", 400, "'webIdentityToken'"},
		"too long":           {arn, strings.Repeat("a", 20001), "ValidationError", 400, "'webIdentityToken'"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := exchange(t, s, tt.role, tt.raw, nil)
			servertest.WantRefused(t, err, tt.code, tt.status, tt.want)
			if len(tt.raw) > 100 && strings.Contains(err.Error(), tt.raw[len(tt.raw)-60:]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
	t.Run("too long a session", func(t *testing.T) {
		_, _, err := exchange(t, s, arn, raw, func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(3601) })
		servertest.WantRefused(t, err, "ValidationError", 400, "exceeds the MaxSessionDuration set for this role")
	})
	t.Run("restricted", func(t *testing.T) {
		session, out, err := exchange(t, s, arn, raw, func(in *sts.AssumeRoleWithWebIdentityInput) {
			in.Policy = aws.String(servertest.Allow(`"s3:*"`, "arn:aws:s3:::carts-*", ""))
		})
		if err != nil || out.PackedPolicySize == nil {
			t.Fatalf("%+v %v", out, err)
		}
		if err := buckets(t, session).create("carts-more"); err != nil {
			t.Error(err)
		}
		servertest.WantRefused(t, buckets(t, session).create("other"), "AccessDenied", 403, "because no session policy allows")
	})
	t.Run("expired", func(t *testing.T) {
		clock.Advance(2 * time.Hour)
		_, _, err := exchange(t, s, arn, raw, nil)
		servertest.WantRefused(t, err, "ExpiredTokenException", 400, "current date/time", "must be before the expiration date/time")
	})
	if log := s.Log.String(); strings.Contains(log, parts[2]) || strings.Contains(log, *out.Credentials.SecretAccessKey) || strings.Contains(log, *out.Credentials.SessionToken) {
		t.Error("the log holds a token or a secret")
	}
}

// provideTokens serves an issuer that podid does not know as a cluster, and returns what signs its tokens and a switch that breaks it.
func provideTokens(t *testing.T) (*token.Signer, *atomic.Bool) {
	t.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var signer *token.Signer
	broken := &atomic.Bool{}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case broken.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			_, _ = w.Write(token.DiscoveryDocument(signer.Issuer()))
		default:
			_, _ = w.Write(signer.JWKS())
		}
	}))
	t.Cleanup(issuer.Close)
	if signer, err = token.NewSigner(key, issuer.URL); err != nil {
		t.Fatal(err)
	}
	return signer, broken
}

// signed is a token of somebody called build-17 for the audience app, with more claims or others.
func signed(t testing.TB, by *token.Signer, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"sub": "build-17", "aud": "app", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, more)
	raw, err := by.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return raw.Reveal()
}

func TestExternalIssuer(t *testing.T) {
	s := servertest.New(t, nil)
	signer, broken := provideTokens(t)
	down, downBroken := provideTokens(t)
	downBroken.Store(true)
	provider := provide(t, s, signer.Issuer(), "app", "other")
	_, host, _ := strings.Cut(signer.Issuer(), "://")
	sign := func(by *token.Signer, more map[string]any) string {
		t.Helper()
		return signed(t, by, more)
	}
	federated := `{"Federated":"` + provider + `"}`
	const action = `"sts:AssumeRoleWithWebIdentity"`
	plain := s.MakeRole("ci", servertest.Trust(federated, action, `{"StringLike":{"`+host+`:sub":"build-*"},"StringEquals":{"`+host+`:aud":"app"}}`), "")
	tagged := s.MakeRole("tagged", servertest.Trust(federated, `["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"]`, `{"StringEquals":{"aws:RequestTag/Team":"a"}}`),
		servertest.AllowAll)

	if _, out, err := exchange(t, s, plain, sign(signer, nil), nil); err != nil || *out.SubjectFromWebIdentityToken != "build-17" || *out.Audience != "app" {
		t.Fatalf("%+v %v", out, err)
	}
	for name, tt := range map[string]struct {
		claims map[string]any
		code   string
		status int
	}{
		"other audience that the provider has": {map[string]any{"aud": "other"}, "AccessDenied", 403},
		"audience that it has not":             {map[string]any{"aud": []string{"x", "y"}}, "InvalidIdentityToken", 400},
		"authorized party before audience":     {map[string]any{"azp": "x"}, "InvalidIdentityToken", 400},
		"not valid yet":                        {map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, "InvalidIdentityToken", 400},
		"expired":                              {map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, "ExpiredTokenException", 400},
		"tags that the role does not take":     {tagClaim(map[string]any{"Team": []string{"a"}}), "AccessDenied", 403},
		"tag of two values":                    {tagClaim(map[string]any{"Team": []string{"a", "b"}}), "IDPRejectedClaim", 403},
		"reserved tag":                         {tagClaim(map[string]any{"aws:x": []string{"a"}}), "IDPRejectedClaim", 403},
		"source identity":                      {map[string]any{"https://aws.amazon.com/source_identity": "ana"}, "AccessDenied", 403},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := exchange(t, s, plain, sign(signer, tt.claims), nil)
			servertest.WantRefused(t, err, tt.code, tt.status)
		})
	}
	t.Run("session tags and source identity", func(t *testing.T) {
		claims := tagClaim(map[string]any{"Team": []string{"a"}, "Own": []string{"x"}}, "Team")
		claims["https://aws.amazon.com/source_identity"] = "ana"
		session, out, err := exchange(t, s, tagged, sign(signer, claims), nil)
		if err != nil || aws.ToString(out.SourceIdentity) != "ana" || out.PackedPolicySize == nil {
			t.Fatalf("%+v %v", out, err)
		}
		next := s.MakeRole("next", servertest.Trust(role("tagged"), `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`,
			`{"StringEquals":{"aws:RequestTag/Team":"a","aws:PrincipalTag/Own":"x","sts:SourceIdentity":"ana"},"Null":{"aws:RequestTag/Own":"true"}}`), "")
		if _, _, err := s.Assume(t, session, next, nil); err != nil {
			t.Errorf("the transitive tag and the source identity go on: %v", err)
		}
		_, _, err = exchange(t, s, tagged, sign(signer, tagClaim(map[string]any{"Team": []string{"b"}})), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403)
	})
	t.Run("issuer that does not answer", func(t *testing.T) {
		provide(t, s, down.Issuer(), "app")
		_, _, err := exchange(t, s, plain, sign(down, nil), nil)
		servertest.WantRefused(t, err, "IDPCommunicationError", 400)
	})
	t.Run("keys outlast the issuer", func(t *testing.T) {
		broken.Store(true)
		if _, _, err := exchange(t, s, plain, sign(signer, map[string]any{"sub": "build-18"}), nil); err != nil {
			t.Error(err)
		}
	})
}

func tagClaim(tags map[string]any, transitive ...string) map[string]any {
	return map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": tags, "transitive_tag_keys": transitive}}
}
