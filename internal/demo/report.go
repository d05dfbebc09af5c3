package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// telling is what one step says of itself.
type telling struct {
	Step     int           `json:"step"`
	Title    string        `json:"title"`
	OK       bool          `json:"ok"`
	Calls    []string      `json:"calls,omitempty"`
	Findings []string      `json:"findings,omitempty"`
	Error    string        `json:"error,omitempty"`
	Duration time.Duration `json:"durationNs"`
}

func (t *telling) called(format string, args ...any) {
	t.Calls = append(t.Calls, fmt.Sprintf(format, args...))
}

func (t *telling) found(format string, args ...any) {
	t.Findings = append(t.Findings, fmt.Sprintf(format, args...))
}

// report prints the steps as they end.
type report struct {
	cfg   Config
	start time.Time
	steps int
}

func newReport(cfg Config) *report { return &report{cfg: cfg, start: cfg.Now()} }

// tell runs a step and prints what came of it.
func (r *report) tell(ctx context.Context, s step) error {
	r.steps++
	t := &telling{Step: r.steps, Title: s.title}
	start := r.cfg.Now()
	err := s.run(ctx, t)
	t.Duration, t.OK = r.cfg.Now().Sub(start), err == nil
	if err != nil {
		t.Error = err.Error()
	}
	if printErr := r.print(t, s.mark); printErr != nil {
		return printErr
	}
	if err != nil {
		return fmt.Errorf("step %d did not go as it should: %w", t.Step, err)
	}
	return nil
}

func (r *report) print(t *telling, mark string) error {
	if r.cfg.JSON {
		return json.NewEncoder(r.cfg.Out).Encode(t)
	}
	outcome := r.paint("32", "✓")
	if !t.OK {
		outcome = r.paint("31", "✗")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %2d. %s%s  %s\n", outcome, t.Step, r.paint("1", t.Title), suffix(mark), r.paint("2", brief(t.Duration)))
	for _, call := range t.Calls {
		fmt.Fprintf(&b, "       %s %s\n", r.paint("36", "→"), call)
	}
	for _, finding := range t.Findings {
		fmt.Fprintf(&b, "         %s\n", strings.ReplaceAll(finding, "\n", "\n         "))
	}
	if t.Error != "" {
		fmt.Fprintf(&b, "       %s\n", r.paint("31", t.Error))
	}
	_, err := fmt.Fprintln(r.cfg.Out, b.String())
	return err
}

// suffix is the number that the step has in the story of EKS Pod Identity.
func suffix(mark string) string {
	if mark == "" {
		return ""
	}
	return " " + mark
}

func brief(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func (r *report) end() error {
	total := r.cfg.Now().Sub(r.start)
	if r.cfg.JSON {
		return json.NewEncoder(r.cfg.Out).Encode(map[string]any{"ok": true, "steps": r.steps, "durationNs": total})
	}
	_, err := fmt.Fprintf(r.cfg.Out, "%s All %d steps went as they should, in %s.\n", r.paint("32", "✓"), r.steps, brief(total))
	return err
}

func (r *report) paint(code, text string) string {
	if !r.cfg.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
