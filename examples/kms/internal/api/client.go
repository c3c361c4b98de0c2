package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Client talks to a running KMS.
type Client struct {
	URL, Token string
	HTTP       *http.Client
}

// StatusError is the error of a call that the server refused or failed to serve.
type StatusError struct {
	Code int // of HTTP
	Text string
}

func (e *StatusError) Error() string { return e.Text }

// Call sends a request, with a JSON body if there is one, and reads the JSON answer.
func (c *Client) Call(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+"/api/"+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("%w: is the server running?", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		var refused errorJSON
		if json.NewDecoder(res.Body).Decode(&refused) != nil || refused.Error == "" {
			refused.Error = res.Status
		}
		return &StatusError{res.StatusCode, refused.Error}
	}
	return json.NewDecoder(res.Body).Decode(into)
}
