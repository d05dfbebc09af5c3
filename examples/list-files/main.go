// List-files is an example of an application in a pod: a small HTTP API that returns the names of the files in an S3 bucket.
// It uses the AWS SDK as any application does and knows nothing of where its credentials come from.
//
//	BUCKET=demo ADDR=127.0.0.1:8080 list-files
//	curl http://127.0.0.1:8080/
//	{"files":["test-file-1.md","test-file-2.md"]}
//
// BUCKET is the bucket; ADDR is the address to listen on, :8080 if it is not set. All else (region, endpoint, credentials) comes
// from the variables and files that every AWS program reads.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("BUCKET"), os.Getenv("ADDR")); err != nil {
		log.Fatalf("list-files: %v", err)
	}
}

// run serves until ctx is done, and then finishes the requests that are under way.
func run(ctx context.Context, bucket, addr string) error {
	if bucket == "" {
		return errors.New("BUCKET is not set")
	}
	if addr == "" {
		addr = ":8080"
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("loading the AWS configuration: %w", err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler(cfg, bucket), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// handler answers GET / with the names of all files in the bucket.
func handler(cfg aws.Config, bucket string) http.Handler {
	client := s3.NewFromConfig(cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
		defer cancel()
		files, err := list(ctx, cfg.Credentials, client, bucket)
		if err != nil {
			log.Printf("listing the files of %s: %v", bucket, err)
			reply(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		reply(w, http.StatusOK, map[string][]string{"files": files})
	})
	return mux
}

// list returns the names of all files in the bucket, in order. Credentials are loaded first, so that their absence is told
// apart from what S3 answers.
func list(ctx context.Context, credentials aws.CredentialsProvider, client *s3.Client, bucket string) ([]string, error) {
	if _, err := credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("unable to load credentials: %w", err)
	}
	files := []string{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			files = append(files, aws.ToString(object.Key))
		}
	}
	return files, nil
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Printf("answering: %v", err)
	}
}
