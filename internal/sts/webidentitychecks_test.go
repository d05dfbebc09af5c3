package sts_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/server/servertest"
)

// TestWebIdentityChecks goes through what can be wrong with a web identity, in the order in which it is found out.
func TestWebIdentityChecks(t *testing.T) {
	s := servertest.New(t, nil)
	signer, _ := provideTokens(t)
	stranger, _ := provideTokens(t)
	provider := provide(t, s, signer.Issuer(), "app")
	_, host, _ := strings.Cut(signer.Issuer(), "://")
	federated := `{"Federated":"` + provider + `"}`
	const action = `"sts:AssumeRoleWithWebIdentity"`
	open := s.MakeRole("open", servertest.Trust(federated, action, ""), "")
	named := s.MakeRole("named", servertest.Trust(federated, action, `{"StringEquals":{"sts:RoleSessionName":"app","`+host+`:amr":"mfa"}}`), "")
	long := func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(43200) }
	encode := func(part string) string { return base64.RawURLEncoding.EncodeToString([]byte(part)) }
	good := strings.Split(signed(t, signer, nil), ".")

	// An issuer that has discovery and no keys.
	half := http.NewServeMux()
	server := httptest.NewServer(half)
	t.Cleanup(server.Close)
	half.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + server.URL + `","jwks_uri":"` + server.URL + `/keys"}`))
	})
	provide(t, s, server.URL, "app")

	for _, tt := range []struct {
		name      string
		raw, role string
		change    func(*sts.AssumeRoleWithWebIdentityInput)
		code      string
		status    int
		want      string
	}{
		{"no JSON", encode("{") + "." + good[1] + "." + good[2], open, nil, "InvalidIdentityToken", 400, "could not be validated"},
		{"two parts", good[0] + "." + good[1], open, nil, "InvalidIdentityToken", 400, "could not be validated"},
		{"no issuer", good[0] + "." + encode(`{"sub":"a","aud":"app","exp":4000000000}`) + "." + good[2], open, nil, "InvalidIdentityToken", 400, "it has no iss claim"},
		{"no provider", signed(t, stranger, nil), open, nil, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for " + stranger.Issuer()},
		{"no audience", signed(t, signer, map[string]any{"aud": []string{}}), open, nil, "InvalidIdentityToken", 400, "Missing a required claim: aud"},
		{"other audience", signed(t, signer, map[string]any{"aud": "x"}), open, nil, "InvalidIdentityToken", 400, "Incorrect token audience"},
		{"authorized party only", signed(t, signer, map[string]any{"aud": "x", "azp": "app"}), open, nil, "", 0, ""},
		{"no keys", strings.Replace(signed(t, signer, nil), good[1], encode(`{"iss":"`+server.URL+`","sub":"a","aud":"app","exp":4000000000}`), 1), open, nil,
			"IDPCommunicationError", 400, "Couldn't retrieve verification key from your identity provider"},
		{"no signature of the issuer", good[0] + "." + good[1] + "." + strings.Split(signed(t, stranger, nil), ".")[2], open, nil, "InvalidIdentityToken", 400, "could not be validated"},
		{"expired", signed(t, signer, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}), open, nil, "ExpiredTokenException", 400, "must be before the expiration date/time"},
		{"tag with a bad name", signed(t, signer, tagClaim(map[string]any{"a*": []string{"b"}})), open, nil, "IDPRejectedClaim", 403, "tags of the token are invalid"},
		{"transitive tag that is none", signed(t, signer, tagClaim(map[string]any{"a": []string{"b"}}, "c")), open, nil, "IDPRejectedClaim", 403, `"c"`},
		{"source identity with a space", signed(t, signer, map[string]any{"https://aws.amazon.com/source_identity": "a b"}), open, nil, "IDPRejectedClaim", 403, "source identity"},
		{"long subject", signed(t, signer, map[string]any{"sub": strings.Repeat("s", 256)}), open, nil, "IDPRejectedClaim", 403, "sub claim"},
		{"long method", signed(t, signer, map[string]any{"amr": []string{strings.Repeat("s", 11000)}}), open, nil, "IDPRejectedClaim", 403, "amr claim"},
		{"tags that nobody allowed", signed(t, signer, tagClaim(map[string]any{"a": []string{"b"}})), open, nil, "AccessDenied", 403, "Not authorized to perform sts:TagSession"},
		{"source identity that nobody allowed", signed(t, signer, map[string]any{"https://aws.amazon.com/source_identity": "ana"}), open, nil,
			"AccessDenied", 403, "Not authorized to perform sts:SetSourceIdentity"},
		{"conditions", signed(t, signer, map[string]any{"amr": []string{"mfa"}}), named, nil, "", 0, ""},
		{"another amr", signed(t, signer, map[string]any{"amr": "pwd"}), named, nil, "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		{"another session name", signed(t, signer, map[string]any{"amr": "mfa"}), named,
			func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleSessionName = aws.String("other") }, "AccessDenied", 403, "Not authorized"},
		{"no role", signed(t, signer, nil), servertest.RoleARN("absent"), nil, "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		{"too long for no role", signed(t, signer, nil), servertest.RoleARN("absent"), long, "AccessDenied", 403, "Not authorized"},
		{"too long", signed(t, signer, nil), open, long, "ValidationError", 400, "exceeds the MaxSessionDuration set for this role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, out, err := exchange(t, s, tt.role, tt.raw, tt.change)
			if tt.code != "" {
				servertest.WantRefused(t, err, tt.code, tt.status, tt.want)
			} else if err != nil || *out.Audience != "app" {
				t.Errorf("%+v %v", out, err)
			}
		})
	}
}
