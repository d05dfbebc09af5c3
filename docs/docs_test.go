// Package docs_test holds the documents against the code: what the code serves is named in them, and what they name is served.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOperations compares each service's declared operations with its table in api.md.
func TestOperations(t *testing.T) {
	api := read(t, "api.md")
	for service, heading := range map[string]string{"eks": "EKS", "eksauth": "EKS Auth", "sts": "STS", "iam": "IAM"} {
		var declared []string
		for _, call := range calls(t, "../internal/"+service) {
			if name := callee(call); name == "wire.Op" {
				declared = append(declared, text(call.Args[0]))
			}
		}
		compare(t, "operations of "+heading, declared, column(section(api, heading), "operation", 0))
	}
}

func TestS3Operations(t *testing.T) {
	var served, documented []string
	inspect(t, "../internal/s3front", func(n ast.Node) {
		if pair, ok := n.(*ast.KeyValueExpr); ok && identifier(pair.Key) == "name" && text(pair.Value) != "" {
			served = append(served, text(pair.Value))
		}
	})
	for _, cell := range column(section(read(t, "api.md"), "S3"), "on", 1) {
		documented = append(documented, strings.Split(cell, ", ")...)
	}
	compare(t, "operations of S3", served, documented)
}

// TestErrorCodes wants every code that a service's errors.go makes in the service's table.
func TestErrorCodes(t *testing.T) {
	api := read(t, "api.md")
	for service, heading := range map[string]string{"eks": "EKS", "eksauth": "EKS Auth", "sts": "STS", "iam": "IAM"} {
		var made, documented []string
		inspect(t, "../internal/"+service, func(n ast.Node) {
			if pair, ok := n.(*ast.KeyValueExpr); ok && identifier(pair.Key) == "Code" && text(pair.Value) != "" {
				made = append(made, text(pair.Value))
			}
		})
		for _, cell := range column(section(api, heading), "code", 0) {
			documented = append(documented, strings.Split(cell, ", ")...)
		}
		compare(t, "error codes of "+heading, made, documented)
	}
}

// TestConditionKeys wants every condition key that is set by name in the table of keys.
func TestConditionKeys(t *testing.T) {
	table := section(read(t, "api.md"), "Condition keys")
	found := 0
	for _, dir := range []string{"directory", "assume", "eks", "eksauth", "iam", "sts"} {
		for _, call := range calls(t, "../internal/"+dir) {
			name := callee(call)
			if _, method, ok := strings.Cut(name, "."); ok {
				name = method
			}
			if !slices.Contains([]string{"Set", "SetMany", "SetTags", "set"}, name) || len(call.Args) == 0 {
				continue
			}
			if key := text(call.Args[0]); key != "" {
				found++
				if !strings.Contains(table, key) {
					t.Errorf("%s sets the condition key %s, which is not in the table", dir, key)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("found only %d condition keys in the code", found)
	}
}

// TestFlags compares the flags of each program, and the variables that stand for them, with the tables of operate.md.
func TestFlags(t *testing.T) {
	operate := read(t, "operate.md")
	defines := regexp.MustCompile(`^(String|Bool|Int|Int64|Duration)(Slice|Array)?(Var)?P?$`)
	for _, program := range []struct{ dir, prefix string }{{"podid", "PODID_"}, {"podid-agent", "PODID_AGENT_"}} {
		var defined, documented []string
		defining := calls(t, "../cmd/"+program.dir)
		if program.dir == "podid" { // podid-webhook has the same
			defining = append(defining, calls(t, "../internal/webhook/program")...)
		}
		for _, call := range defining {
			_, method, _ := strings.Cut(callee(call), ".")
			if !defines.MatchString(method) || len(call.Args) == 0 {
				continue
			}
			name := text(call.Args[0])
			if strings.Contains(method, "Var") {
				name = text(call.Args[1])
			}
			defined = append(defined, "--"+name+" "+program.prefix+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
		}
		heading := regexp.MustCompile(`(?m)^### (` + program.dir + ` .*)$`)
		for _, match := range heading.FindAllStringSubmatch(operate, -1) {
			table := section(operate, match[1])
			if !strings.Contains(table, "| flag |") {
				continue
			}
			flags, variables := column(table, "flag", 0), column(table, "flag", 1)
			for i := range flags {
				long := flags[i][strings.LastIndex(flags[i], "--"):]
				documented = append(documented, long+" "+variables[i])
			}
		}
		compare(t, "flags of "+program.dir, defined, documented)
	}
}

// TestAgentMetrics compares the metrics of the node agent with their table in agent.md.
func TestAgentMetrics(t *testing.T) {
	name := regexp.MustCompile(`^(pod_identity|podid_agent)_[a-z_]+[a-z]$`)
	var served, documented []string
	inspect(t, "../internal/agent", func(n ast.Node) {
		if e, ok := n.(ast.Expr); ok && name.MatchString(text(e)) {
			served = append(served, text(e))
		}
	})
	for _, cell := range column(section(read(t, "agent.md"), "Metrics"), "metric", 0) {
		documented = append(documented, strings.Split(cell, ", ")...)
	}
	compare(t, "metrics of the node agent", served, documented)
}

// TestLinks follows the links of all documents that lead to files of this repository, and to headings in them.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	followed := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != ".." && (strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"testdata", "node_modules"}, entry.Name())) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		for _, match := range link.FindAllStringSubmatch(read(t, path), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			followed++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := filepath.Join(filepath.Dir(path), file)
			if file == "" {
				target = path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if followed < 10 {
		t.Errorf("found only %d links", followed)
	}
}

func compare(t *testing.T, what string, code, documents []string) {
	t.Helper()
	for _, list := range []*[]string{&code, &documents} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if len(code) == 0 {
		t.Errorf("%s: none found in the code", what)
	}
	if diff := cmp.Diff(code, documents); diff != "" {
		t.Errorf("%s (-code +documents)\n%s", what, diff)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section returns what stands under a heading, up to the next one of any level.
func section(document, heading string) string {
	_, after, _ := strings.Cut(document, "# "+heading+"\n")
	text, _, _ := strings.Cut(after, "\n#")
	return text
}

// column returns the cells of a column of the table whose first column has that title, without marks of code.
func column(text, title string, n int) []string {
	var cells []string
	in := false
	for line := range strings.Lines(text) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		first := strings.TrimSpace(row[0])
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
		case first == title:
			in = true
		case in && len(row) > n && strings.Trim(first, "-") != "":
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(row[n]), "`", ""))
		}
	}
	return cells
}

// anchors are the names by which a document's headings are linked to.
func anchors(document string) []string {
	var names []string
	for line := range strings.Lines(document) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			name := strings.ToLower(strings.TrimSpace(heading))
			name = regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(name, "")
			names = append(names, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return names
}

// inspect visits all nodes of the Go files of a directory, without its tests.
func inspect(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			visit(n)
			return true
		})
	}
}

func calls(t *testing.T, dir string) []*ast.CallExpr {
	t.Helper()
	var found []*ast.CallExpr
	inspect(t, dir, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			found = append(found, call)
		}
	})
	return found
}

// callee names what is called: wire.Op, or the last two parts of a longer chain; () stands for what a call returns.
func callee(call *ast.CallExpr) string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return identifier(call.Fun)
	}
	on := identifier(selector.X)
	if on == "" {
		on = "()"
	}
	return on + "." + selector.Sel.Name
}

func identifier(e ast.Expr) string {
	if name, ok := e.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// text is the value of a string literal, and empty for anything else.
func text(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return value
}
