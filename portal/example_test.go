package portal_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
)

func Example() {
	dispatcher, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{})
	if err != nil {
		panic(err)
	}
	handler, err := portal.New(dispatcher, portal.Options{
		Access: func(r *http.Request) (portal.Access, error) {
			if r.Header.Get("Authorization") != "Bearer acme-key" { // the application's own keys
				return portal.Access{}, &portal.Refusal{}
			}
			return portal.Access{Tenant: "acme", Actor: "ci@acme.example"}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", handler))
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, key := range []string{"guessed", "acme-key"} {
		request, err := http.NewRequest("POST", server.URL+"/webhooks/api/v1/endpoints", strings.NewReader(`{"url": "ftp://acme.example/"}`))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Authorization", "Bearer "+key)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		_ = response.Body.Close()
		fmt.Print(response.StatusCode, " ", string(body))
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 401 {"type":"urn:outhook:problem:unauthorized","title":"Unauthorized","status":401}
	// 422 {"type":"urn:outhook:problem:invalid","title":"Unprocessable Entity","status":422,"errors":[{"pointer":"/url","detail":"URL not permitted: its scheme must be https"}]}
}

// A refusal sends pages to the application's login, and tells programs.
func ExampleRefusal() {
	dispatcher, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{})
	if err != nil {
		panic(err)
	}
	handler, err := portal.New(dispatcher, portal.Options{
		Access: func(r *http.Request) (portal.Access, error) {
			if _, err := r.Cookie("session"); err != nil {
				return portal.Access{}, &portal.Refusal{Location: "/login"}
			}
			return portal.Access{}, &portal.Refusal{Status: http.StatusForbidden, Detail: "Your plan has no webhooks."}
		},
	})
	if err != nil {
		panic(err)
	}
	for _, path := range []string{"/", "/api/v1/endpoints"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		fmt.Println(answer.Code, answer.Header().Get("Location"))
	}
	// Output:
	// 303 /login
	// 401
}
