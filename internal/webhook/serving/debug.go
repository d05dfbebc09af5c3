package serving

import (
	"encoding/json"
	"net/http"
)

// serveDeny refuses whatever it is asked about, and serveFault answers with 500: to see what a cluster makes of either, without harm
// to anybody, a MutatingWebhookConfiguration of its own can lead some pods here. Both are Amazon's.
func serveDeny(rw http.ResponseWriter, r *http.Request) {
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Request    *struct {
			UID string `json:"uid"`
		} `json:"request,omitempty"`
		Response struct {
			UID     string            `json:"uid"`
			Allowed bool              `json:"allowed"`
			Status  map[string]string `json:"status"`
		} `json:"response"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxDebugBytes)).Decode(&review); err != nil {
		http.Error(rw, "want an AdmissionReview", http.StatusBadRequest)
		return
	}
	if review.Request != nil {
		review.Response.UID, review.Request = review.Request.UID, nil
	}
	review.Response.Allowed, review.Response.Status = false, map[string]string{"message": "Test deny message"}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(&review)
}

func serveFault(rw http.ResponseWriter, _ *http.Request) {
	http.Error(rw, "test error", http.StatusInternalServerError)
}

// maxDebugBytes is as much as an AdmissionReview may have.
const maxDebugBytes = 4 << 20

// serveCache tells which service accounts have annotations of ours, and how many associations there are; of these not even the names
// are kept.
func (w *Webhook) serveCache(rw http.ResponseWriter, _ *http.Request) {
	var cache struct {
		Associations int                          `json:"associations"`
		Annotated    map[string]map[string]string `json:"annotated"`
	}
	cache.Associations = w.cfg.Facts.Associations.Len()
	if accounts := w.cfg.Facts.Accounts; accounts != nil {
		cache.Annotated = accounts.Annotations()
	}
	rw.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(rw)
	encoder.SetIndent("", " ")
	_ = encoder.Encode(cache)
}
