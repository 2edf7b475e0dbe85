package portal

import (
	"fmt"
	"html/template"
	"net/http"

	"github.com/outhook/webhook"
)

// pages returns the routes of the pages and of their assets.
func (p *portal) pages() []route {
	return []route{
		{method: http.MethodGet, path: "", handler: p.listPage},
	}
}

func (p *portal) listPage(w http.ResponseWriter, r *request) error {
	page, err := r.view.Endpoints(r.Context(), webhook.EndpointFilter{})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return template.Must(template.New("list").Parse(`<!doctype html><title>Webhooks</title><ul>{{range .}}<li>{{.URL}}</li>{{end}}</ul>`)).Execute(w, page.Items)
}

// errorPage shows what a request ended with.
func (p *portal) errorPage(w http.ResponseWriter, _ *request, q *problem) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(q.Status)
	_, _ = fmt.Fprintf(w, "<!doctype html><title>%s</title><h1>%[1]s</h1>", template.HTMLEscapeString(q.Title))
}
