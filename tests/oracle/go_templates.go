// What Go's text/template makes of templates and conversations, set up as Ollama does.
//
//	go run go_templates.go CONVERSATIONS CASES           writes a line of JSON for each case: by conversation its text, nothing where Go has an
//	                                                     error, and 1.22 where only Go from 1.22 on has none
//	go run go_templates.go CONVERSATIONS CASES --update  writes the results into CASES
//
// CONVERSATIONS is JSON: names, and messages, tools and think. CASES has three lines for each case: a conversation's name, the template in
// JSON, and the result in JSON, or ! where Go has an error.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

type conversation struct {
	Messages []struct {
		Role       string
		Content    string
		Thinking   string `json:"reasoning_content"`
		ToolCallID string `json:"tool_call_id"`
		ToolName   string `json:"name"`
		ToolCalls  []struct {
			ID       string
			Function struct {
				Name      string
				Arguments map[string]any
			}
		} `json:"tool_calls"`
	}
	Tools tools
	Think any
}

type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     [][]byte
	ToolCalls  []call
	ToolName   string
	ToolCallID string
}

type call struct {
	ID       string
	Function called
}

type called struct {
	Index     int
	Name      string
	Arguments arguments
}

type arguments map[string]any

type tools []tool

type tool struct {
	Type     string   `json:"type"`
	Items    any      `json:"items,omitempty"`
	Function function `json:"function"`
}

type function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

type parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}

type properties map[string]property

type property struct {
	AnyOf       []property `json:"anyOf,omitempty"`
	Type        types      `json:"type,omitempty"`
	Items       any        `json:"items,omitempty"`
	Description string     `json:"description,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
}

type types []string

func (t *types) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = types{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func (t types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

func (t types) String() string {
	switch len(t) {
	case 0:
		return ""
	case 1:
		return t[0]
	}
	return fmt.Sprint([]string(t))
}

// Go from 1.22 on writes two signs more by letters.
var newer = strings.NewReplacer(`\\`, `\\`, `\u0008`, `\b`, `\u000c`, `\f`)

func marshalled(v any) string {
	text, _ := json.Marshal(v)
	return newer.Replace(string(text))
}

func (a arguments) String() string   { return marshalled(map[string]any(a)) }
func (p properties) String() string  { return marshalled(map[string]property(p)) }
func (t tools) String() string       { return marshalled([]tool(t)) }
func (t tool) String() string        { return marshalled(t) }
func (f *function) String() string   { return marshalled(f) }
func (p *parameters) String() string { return marshalled(p) }

func (p property) typeScript() string {
	var all []string
	for _, of := range p.AnyOf {
		all = append(all, of.typeScript())
	}
	if len(all) == 0 {
		for _, name := range p.Type {
			known := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "array": "any[]", "object": "Record<string, any>", "null": "null"}
			if known[name] == "" {
				name = "any"
			} else {
				name = known[name]
			}
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return "any"
	}
	return strings.Join(all, " | ")
}

// The clock stands at the 14th of November 2023.
var now = time.Unix(1_700_000_000, 0).UTC()

var functions = template.FuncMap{
	"json":          marshalled,
	"currentDate":   func(...string) string { return now.Format("2006-01-02") },
	"yesterdayDate": func(...string) string { return now.AddDate(0, 0, -1).Format("2006-01-02") },
	"toTypeScriptType": func(v any) string {
		if p, ok := v.(property); ok {
			return p.typeScript()
		}
		return "any"
	},
}

// The names of fields in a node, but for those of chains.
func names(n parse.Node, each func(string)) {
	lists := func(pipe *parse.PipeNode, lists ...*parse.ListNode) {
		if pipe != nil {
			names(pipe, each)
		}
		for _, list := range lists {
			if list != nil {
				names(list, each)
			}
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, inner := range n.Nodes {
			names(inner, each)
		}
	case *parse.ActionNode:
		lists(n.Pipe)
	case *parse.TemplateNode:
		lists(n.Pipe)
	case *parse.IfNode:
		lists(n.Pipe, n.List, n.ElseList)
	case *parse.WithNode:
		lists(n.Pipe, n.List, n.ElseList)
	case *parse.RangeNode:
		lists(n.Pipe, n.List, n.ElseList)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			for _, operand := range command.Args {
				names(operand, each)
			}
		}
	case *parse.FieldNode:
		for _, name := range n.Ident {
			each(name)
		}
	case *parse.VariableNode:
		for _, name := range n.Ident {
			each(name)
		}
	}
}

// Leaves out what follows the first action that writes .Response.
func cut(list *parse.ListNode, found *bool) {
	if list == nil {
		return
	}
	var kept []parse.Node
	for _, n := range list.Nodes {
		if *found {
			break
		}
		switch n := n.(type) {
		case *parse.ActionNode:
			writes(n.Pipe, found)
		case *parse.IfNode:
			cut(n.List, found)
			cut(n.ElseList, found)
		case *parse.WithNode:
			cut(n.List, found)
			cut(n.ElseList, found)
		case *parse.RangeNode:
			cut(n.List, found)
			cut(n.ElseList, found)
		}
		kept = append(kept, n)
	}
	list.Nodes = kept
}

func writes(pipe *parse.PipeNode, found *bool) {
	for _, command := range pipe.Cmds {
		for _, operand := range command.Args {
			switch operand := operand.(type) {
			case *parse.FieldNode:
				for _, name := range operand.Ident {
					*found = *found || name == "Response"
				}
			case *parse.PipeNode:
				writes(operand, found)
			}
		}
	}
}

func render(source string, c conversation) (string, error) {
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(source)
	if err != nil {
		return "", err
	}
	has := map[string]bool{}
	for _, each := range parsed.Templates() {
		names(each.Root, func(name string) { has[strings.ToLower(name)] = true })
	}
	if parsed.Tree == nil {
		return "", nil
	}
	if !has["messages"] && !has["response"] {
		field := &parse.FieldNode{NodeType: parse.NodeField, Ident: []string{"Response"}}
		command := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{field}}
		pipe := &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{command}}
		parsed.Root.Nodes = append(parsed.Root.Nodes, &parse.ActionNode{NodeType: parse.NodeAction, Pipe: pipe})
	}
	if c.Tools != nil && !has["tools"] {
		return "", fmt.Errorf("no place for tools")
	}
	if c.Think == nil && has["messages"] && has["thinking"] {
		c.Think = true
	}
	var messages []*message
	var system []string
	for _, m := range c.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if last := len(messages) - 1; last >= 0 && messages[last].Role == m.Role && m.Role != "tool" {
			messages[last].Content += "\n\n" + m.Content
			continue
		}
		var calls []call
		for i, c := range m.ToolCalls {
			calls = append(calls, call{c.ID, called{i, c.Function.Name, c.Function.Arguments}})
		}
		messages = append(messages, &message{m.Role, m.Content, m.Thinking, nil, calls, m.ToolName, m.ToolCallID})
	}
	var b bytes.Buffer
	execute := func(t *template.Template, data map[string]any) error {
		level, isLevel := c.Think.(string)
		on, _ := c.Think.(bool)
		if on {
			level = "medium"
		}
		data["Think"], data["ThinkLevel"], data["IsThinkSet"] = on || isLevel, level, c.Think != nil
		return t.Execute(&b, data)
	}
	if has["messages"] {
		data := map[string]any{"System": strings.Join(system, "\n\n"), "Messages": messages, "Tools": c.Tools, "Response": ""}
		err := execute(parsed, data)
		return b.String(), err
	}
	turn := map[string]any{"System": "", "Prompt": "", "Response": ""}
	for _, m := range messages {
		before := false
		key := ""
		switch m.Role {
		case "system":
			before, key = turn["Prompt"] != "" || turn["Response"] != "", "System"
		case "user":
			before, key = turn["Response"] != "", "Prompt"
		case "assistant":
			key = "Response"
		default:
			return "", fmt.Errorf("no place for role %s", m.Role)
		}
		if before {
			if err := execute(parsed, turn); err != nil {
				return "", err
			}
			turn = map[string]any{"System": "", "Prompt": "", "Response": ""}
		}
		turn[key] = m.Content
	}
	last, _ := parsed.Clone()
	var found bool
	cut(last.Root, &found)
	err = execute(last, turn)
	return b.String(), err
}

func main() {
	conversations := map[string]conversation{}
	text, err := os.ReadFile(os.Args[1])
	check(err)
	check(json.Unmarshal(text, &conversations))
	text, err = os.ReadFile(os.Args[2])
	check(err)
	var all []string
	for name := range conversations {
		all = append(all, name)
	}
	sort.Strings(all)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 3 {
		var source string
		check(json.Unmarshal([]byte(lines[i+1]), &source))
		results := map[string]any{}
		for _, name := range all {
			text, err := render(source, conversations[name])
			if err == nil {
				results[name] = text
			} else if overNumber.MatchString(err.Error()) {
				results[name] = 1.22
			}
		}
		if len(os.Args) <= 3 {
			fmt.Println(marshalled(results))
			continue
		}
		if _, known := conversations[lines[i]]; !known {
			check(fmt.Errorf("line %d: there is no conversation %q", i+1, lines[i]))
		}
		result := "!"
		if text, ok := results[lines[i]].(string); ok {
			var b bytes.Buffer
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			check(encoder.Encode(text))
			result = strings.TrimSuffix(b.String(), "\n")
		}
		for len(lines) < i+3 {
			lines = append(lines, "")
		}
		lines[i+2] = result
	}
	if len(os.Args) > 3 {
		check(os.WriteFile(os.Args[2], []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
}

// A range over a number.
var overNumber = regexp.MustCompile(`range can't iterate over -?[0-9]+$`)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
