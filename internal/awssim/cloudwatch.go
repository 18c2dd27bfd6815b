package awssim

import (
	"encoding/json"
	"strings"
	"time"
)

// SetCPUCredits sets the CPU credit balance that CloudWatch shows of an instance.
func (s *Simulator) SetCPUCredits(instance string, balance float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.world.instances[strings.ToLower(instance)]; in != nil {
		in.config.CPUCredits = &balance
	}
}

// metricRequest is GetMetricStatistics. Times are seconds since 1970.
type metricRequest struct {
	Namespace, MetricName string
	Dimensions            []struct{ Name, Value string }
	StartTime, EndTime    float64
	Period                int64
}

// datapoint is one value of a metric.
type datapoint struct {
	Timestamp float64
	Average   float64
	Unit      string
}

func (s *Simulator) tryCloudWatch(operation string, body []byte) (any, error) {
	if operation != "GetMetricStatistics" {
		return nil, refuse("UnknownOperationException", "no operation %s", operation)
	}
	var input metricRequest
	if err := json.Unmarshal(body, &input); err != nil {
		return nil, refuse("SerializationException", "the request is not JSON of this operation")
	}
	return s.metricStatistics(input)
}

// metricStatistics knows one metric, the CPU credit balance of instances, and gives one value for each period. A metric that
// nobody has published is no error: it has no values.
func (s *Simulator) metricStatistics(input metricRequest) (any, error) {
	switch {
	case input.StartTime >= input.EndTime:
		return nil, refuse("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
	case input.Period <= 0 || input.Period%60 != 0:
		return nil, refuse("InvalidParameterValue", "The parameter Period must be a multiple of 60.")
	}
	points := []datapoint{}
	if balance := s.creditsOf(input); balance != nil {
		step := time.Duration(input.Period) * time.Second
		for at := time.Unix(int64(input.StartTime), 0).Truncate(step); at.Before(time.Unix(int64(input.EndTime), 0)); at = at.Add(step) {
			points = append(points, datapoint{float64(at.Unix()), *balance, "Count"})
		}
	}
	return map[string]any{"Label": input.MetricName, "Datapoints": points}, nil
}

func (s *Simulator) creditsOf(input metricRequest) *float64 {
	if input.Namespace != "AWS/RDS" || input.MetricName != "CPUCreditBalance" {
		return nil
	}
	for _, d := range input.Dimensions {
		if in := s.world.instances[strings.ToLower(d.Value)]; d.Name == "DBInstanceIdentifier" && in != nil {
			return in.config.CPUCredits
		}
	}
	return nil
}
