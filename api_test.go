package webhook_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/api.txt")

// Programs outside this repository compile against the names in
// testdata/api.txt. Whoever changes one says why in CHANGELOG.md, and rewrites
// the file by
//
//	go test -run TestExportedAPI -update .
func TestExportedAPI(t *testing.T) {
	const golden = "testdata/api.txt"
	var got []string
	for _, dir := range []string{".", "portal", "sqlstore", "storetest"} {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		got = append(got, exportedAPI(t, dir)...)
	}
	slices.Sort(got)
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not in %s: %s", golden, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("only in %s: %s", golden, line)
		}
	}
}

// exportedAPI returns a line for each exported name of the package in dir, of
// its fields and its methods.
func exportedAPI(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var a apiLines
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		a.pkg = file.Name.Name
		ast.FileExports(file) // leaves what is exported alone
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				a.addFunc(d)
			case *ast.GenDecl:
				a.addGen(d)
			}
		}
	}
	return a.lines
}

// apiLines collects the lines of one package.
type apiLines struct {
	pkg   string
	lines []string
}

func (a *apiLines) add(format string, args ...any) {
	a.lines = append(a.lines, a.pkg+": "+fmt.Sprintf(format, args...))
}

func (a *apiLines) addFunc(d *ast.FuncDecl) {
	receiver := ""
	if d.Recv != nil {
		name := types.ExprString(d.Recv.List[0].Type)
		if !ast.IsExported(strings.TrimPrefix(name, "*")) {
			return
		}
		receiver = "(" + name + ") "
	}
	a.add("func %s%s%s%s", receiver, d.Name.Name, typeParams(d.Type.TypeParams), signature(d.Type))
}

func (a *apiLines) addGen(d *ast.GenDecl) {
	var last *ast.ValueSpec // that iota counts on from
	for i, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			a.addType(spec)
		case *ast.ValueSpec:
			value := ""
			if d.Tok == token.CONST {
				if spec.Type != nil || len(spec.Values) > 0 {
					last = spec
				}
				value = fmt.Sprintf(" %s = %s", exprString(last.Type), exprString(last.Values[0]))
				if strings.Contains(value, "iota") {
					value += fmt.Sprintf(" (%d)", i)
				}
			} else if spec.Type != nil {
				value = " " + types.ExprString(spec.Type)
			}
			for _, name := range spec.Names {
				a.add("%s %s%s", d.Tok, name.Name, value)
			}
		}
	}
}

func (a *apiLines) addType(spec *ast.TypeSpec) {
	name := "type " + spec.Name.Name + typeParams(spec.TypeParams)
	switch t := spec.Type.(type) {
	case *ast.StructType:
		a.add("%s struct", name)
		for _, f := range t.Fields.List {
			if len(f.Names) == 0 {
				a.add("%s struct, embedded %s", name, types.ExprString(f.Type))
			}
			for _, field := range f.Names {
				a.add("%s struct, %s %s", name, field.Name, types.ExprString(f.Type))
			}
		}
	case *ast.InterfaceType:
		a.add("%s interface", name)
		if t.Incomplete {
			a.add("%s interface, sealed", name)
		}
		for _, m := range t.Methods.List {
			f, isMethod := m.Type.(*ast.FuncType)
			if !isMethod {
				a.add("%s interface, embedded %s", name, types.ExprString(m.Type))
			}
			for _, method := range m.Names {
				a.add("%s interface, %s%s", name, method.Name, signature(f))
			}
		}
	default:
		if spec.Assign.IsValid() {
			name += " ="
		}
		a.add("%s %s", name, types.ExprString(t))
	}
}

func signature(f *ast.FuncType) string {
	return strings.TrimPrefix(types.ExprString(&ast.FuncType{Params: f.Params, Results: f.Results}), "func")
}

func typeParams(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var params []string
	for _, f := range list.List {
		for _, name := range f.Names {
			params = append(params, name.Name+" "+types.ExprString(f.Type))
		}
	}
	return "[" + strings.Join(params, ", ") + "]"
}

func exprString(e ast.Expr) string {
	if e == nil {
		return "untyped"
	}
	return types.ExprString(e)
}

// An application that imports the package links these modules and no other:
// drivers, browsers and peers stay in nested modules.
func TestDependencies(t *testing.T) {
	want := []string{
		"code.dny.dev/ssrf",
		"github.com/cenkalti/backoff/v4",
		"github.com/google/uuid",
		"github.com/outhook/webhook",
		"go.uber.org/multierr",
		"go.uber.org/zap",
		"golang.org/x/time",
	}
	for _, pkg := range []string{".", "./sqlstore"} {
		if got := goList(t, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", pkg); !slices.Equal(got, want) {
			t.Errorf("package %s depends on\n%q, want\n%q", pkg, got, want)
		}
	}
}

func TestInternalPackagesKnowNothingOfWebhooks(t *testing.T) {
	const root = "github.com/outhook/webhook"
	for _, path := range goList(t, "-deps", "./internal/...") {
		if !strings.HasPrefix(path, root+"/internal/") && strings.HasPrefix(path+"/", root+"/") {
			t.Errorf("a package of internal imports %s", path)
		}
	}
}

// goList returns the lines that go list prints for this module alone, sorted,
// each once.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	command.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	lines := strings.Fields(string(text))
	slices.Sort(lines)
	return slices.Compact(lines)
}
