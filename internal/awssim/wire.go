package awssim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// apiError is an answer of AWS that is not success.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, message: fmt.Sprintf(format, args...)}
}

func notFound(code, format string, args ...any) *apiError {
	return &apiError{status: http.StatusNotFound, code: code, message: fmt.Sprintf(format, args...)}
}

func asAPIError(err error) *apiError {
	var own *apiError
	if errors.As(err, &own) {
		return own
	}
	return &apiError{status: http.StatusInternalServerError, code: "InternalFailure", message: err.Error()}
}

// routes finds the service of a request: JSON services by the first word of X-Amz-Target, query services by Version. A
// further service needs a line in newRoutes and nothing else here.
type routes struct {
	targets  map[string]jsonService
	versions map[string]func(r request, form url.Values)
}

// request is one HTTP request on its way to an answer.
type request struct {
	ctx context.Context // ends when the caller goes away
	w   http.ResponseWriter
	id  string
}

func (s *Simulator) newRoutes() routes {
	return routes{
		targets: map[string]jsonService{
			"secretsmanager":                {"secretsmanager", s.trySecrets},
			"GraniteServiceVersion20100801": {"cloudwatch", s.tryCloudWatch},
			"AmazonSSM":                     {"ssm", s.trySSM},
		},
		versions: map[string]func(request, url.Values){
			rdsVersion: s.serveRDS,
			ec2Version: s.serveEC2,
		},
	}
}

// maxRequestBytes is far above the largest request of these APIs, 20 parameters.
const maxRequestBytes = 1 << 20

// ServeHTTP answers one API call.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := s.requestID()
	w.Header().Set("X-Amzn-Requestid", id)
	body := new(bytes.Buffer)
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxRequestBytes)); err != nil {
		writeRDSError(w, id, refuse("MalformedQueryString", "the request cannot be read"))
		return
	}
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.serveControl(w, r, body.Bytes())
		return
	}
	call := request{r.Context(), w, id}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		service, operation, _ := strings.Cut(target, ".")
		if serve, known := s.routes.targets[service]; known {
			s.serveJSON(call, serve, operation, body.Bytes())
			return
		}
		writeJSONError(w, refuse("UnknownOperationException", "no service for target %s", target))
		return
	}
	form, err := url.ParseQuery(body.String())
	if err != nil {
		writeRDSError(w, id, refuse("MalformedQueryString", "the request is not form-urlencoded"))
		return
	}
	if serve := s.routes.versions[form.Get("Version")]; serve != nil {
		serve(call, form)
		return
	}
	writeRDSError(w, id, refuse("NoSuchVersion", "the requested version (%s) is not valid", form.Get("Version")))
}

func (s *Simulator) requestID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.serial)
}

const (
	rdsVersion   = "2014-10-31"
	rdsNamespace = "http://rds.amazonaws.com/doc/2014-10-31/"
)

// writeRDSResult wraps result as <XResponse><XResult>…: without the XResult the SDK fails, except for actions that answer
// nothing (result nil), where there is none.
func writeRDSResult(w http.ResponseWriter, action, id string, result any) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%sResponse xmlns=%q>", action, rdsNamespace)
	if result != nil {
		start := xml.StartElement{Name: xml.Name{Local: action + "Result"}}
		if err := xml.NewEncoder(&b).EncodeElement(result, start); err != nil {
			return fmt.Errorf("encode answer of %s: %w", action, err)
		}
	}
	fmt.Fprintf(&b, "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>", id, action)
	write(w, "text/xml", http.StatusOK, b.Bytes())
	return nil
}

func writeRDSError(w http.ResponseWriter, id string, e *apiError) {
	kind := "Sender"
	if e.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	write(w, "text/xml", e.status, fmt.Appendf(nil,
		`<ErrorResponse xmlns=%q><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
		rdsNamespace, kind, e.code, escape(e.message), id))
}

// jsonService is a service that speaks JSON 1.1. try is called with the lock held and must not block.
type jsonService struct {
	name string
	try  func(operation string, body []byte) (any, error)
}

func (s *Simulator) serveJSON(r request, service jsonService, operation string, body []byte) {
	answer, err := s.perform(r.ctx, service.name, operation, jsonParameters(body), func() (any, error) {
		if err := s.failBefore(operation); err != nil {
			return nil, jsonFault(err)
		}
		return service.try(operation, body)
	})
	if err != nil {
		writeJSONError(r.w, asAPIError(err))
		return
	}
	writeJSON(r.w, http.StatusOK, answer)
}

// jsonFault gives throttling the name that it has in JSON services.
func jsonFault(err error) error {
	if e := asAPIError(err); e.code == codeThrottling {
		return refuse("ThrottlingException", "%s", e.message)
	}
	return err
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"__type":"InternalServiceError"}`)
	}
	write(w, "application/x-amz-json-1.1", status, body)
}

func writeJSONError(w http.ResponseWriter, e *apiError) {
	writeJSON(w, e.status, map[string]string{"__type": e.code, "Message": e.message})
}

func write(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller has gone; there is nobody left to tell
}

// formList collects a list of structures: members("Tags.Tag", "Key", "Value") reads Tags.Tag.1.Key, Tags.Tag.1.Value, …
func formList(form url.Values, prefix string, fields ...string) []map[string]string {
	var out []map[string]string
	for i := 1; ; i++ {
		member := map[string]string{}
		for _, field := range fields {
			if key := fmt.Sprintf("%s.%d.%s", prefix, i, field); form.Has(key) {
				member[field] = form.Get(key)
			}
		}
		if len(member) == 0 {
			return out
		}
		out = append(out, member)
	}
}

// page cuts one page out of all by MaxRecords and Marker. The returned marker is empty on the last page.
func page[T any](form url.Values, all []T) ([]T, string, error) {
	size := 100
	if text := form.Get("MaxRecords"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 20 || n > 100 {
			return nil, "", refuse("InvalidParameterValue", "Invalid value %s for MaxRecords. Must be between 20 and 100", text)
		}
		size = n
	}
	from := 0
	if marker := form.Get("Marker"); marker != "" {
		text, err := base64.StdEncoding.DecodeString(marker)
		n, numberErr := strconv.Atoi(strings.TrimPrefix(string(text), "offset:"))
		if err != nil || numberErr != nil || n < 0 || n > len(all) {
			return nil, "", refuse("InvalidParameterValue", "Invalid or expired value for parameter Marker")
		}
		from = n
	}
	if from+size >= len(all) {
		return all[from:], "", nil
	}
	return all[from : from+size], base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "offset:%d", from+size)), nil
}
