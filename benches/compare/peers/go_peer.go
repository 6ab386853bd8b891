// The work written by hand in Go: net/http, encoding/json, the same checks and the same answer.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
)

type args struct {
	CustomerID string `json:"customer_id"`
	Status     string `json:"status"`
	Limit      int    `json:"limit"`
	City       string `json:"city"`
	Note       string `json:"note"`
}

type call struct {
	Function  string `json:"function"`
	CallID    string `json:"call_id"`
	CallerNum string `json:"caller_id_num"`
	Argument  struct {
		Parsed []args `json:"parsed"`
	} `json:"argument"`
}

type reply struct {
	Customer struct {
		Name struct {
			First string `json:"first"`
		} `json:"name"`
	} `json:"customer"`
	Orders []struct {
		ID       string      `json:"id"`
		Status   string      `json:"status"`
		Total    json.Number `json:"total"`
		Currency string      `json:"currency"`
	} `json:"orders"`
	Page struct {
		Count int `json:"count"`
	} `json:"page"`
}

var (
	id       = regexp.MustCompile(`^C-[0-9]{1,10}$`)
	statuses = map[string]bool{"": true, "open": true, "shipped": true, "delivered": true, "cancelled": true}
	client   = &http.Client{Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, TLSClientConfig: trust()}}
	bases    = map[string]string{
		"order_status":      os.Getenv("BENCH_FAST"),
		"order_status_slow": os.Getenv("BENCH_SLOW"),
		"order_status_tls":  os.Getenv("BENCH_TLS"),
	}
)

// The upstream's certificate is signed by an authority of the benchmark's own.
func trust() *tls.Config {
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(os.Getenv("BENCH_CA")); err == nil {
		roots.AppendCertsFromPEM(pem)
	}
	return &tls.Config{RootCAs: roots}
}

func handle(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || len(c.Argument.Parsed) == 0 {
		http.Error(w, "bad request", 400)
		return
	}
	base, ok := bases[c.Function]
	a := c.Argument.Parsed[0]
	if !ok || !id.MatchString(a.CustomerID) || !statuses[a.Status] || a.Limit < 0 || a.Limit > 50 || len(a.City) > 80 || len(a.Note) > 400 {
		http.Error(w, "bad arguments", 400)
		return
	}
	if a.Status == "" {
		a.Status = "open"
	}
	if a.Limit == 0 {
		a.Limit = 5
	}
	body, _ := json.Marshal(map[string]any{"customer": a.CustomerID, "filter": map[string]any{"status": a.Status, "limit": a.Limit}, "caller": c.CallerNum, "note": a.Note})
	u := base + "/v1/customers/" + url.PathEscape(a.CustomerID) + "/orders?status=" + url.QueryEscape(a.Status) + "&limit=" + strconv.Itoa(a.Limit)
	req, _ := http.NewRequestWithContext(r.Context(), "POST", u, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer secret-token")
	req.Header.Set("X-Call-Id", c.CallID)
	res, err := client.Do(req)
	if err != nil {
		http.Error(w, "unreachable", 502)
		return
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	var p reply
	if json.Unmarshal(data, &p) != nil {
		http.Error(w, "bad reply", 502)
		return
	}
	for _, o := range p.Orders {
		if o.Status == "open" {
			out, _ := json.Marshal(map[string]any{
				"response": fmt.Sprintf("%s, order %s is open. It comes to %s %s; %d orders are on file.", p.Customer.Name.First, o.ID, o.Total, o.Currency, p.Page.Count),
				"action":   []any{map[string]any{"set_global_data": map[string]any{"order_id": o.ID, "count": p.Page.Count}}},
			})
			w.Header().Set("Content-Type", "application/json")
			w.Write(out)
			return
		}
	}
	http.Error(w, "no open order", 404)
}

func main() {
	http.HandleFunc("/swaig", handle)
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}
