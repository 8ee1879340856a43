package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOnlyPID1SignalsEveryone(t *testing.T) {
	for _, c := range []struct {
		self, runtime, target int
		ok                    bool
	}{
		{1, 7, -1, true},
		{500, 507, -507, true},
		{500, 1, 0, false}, // -1 outside of a container would be the machine
		{500, 0, 0, false}, // 0 would be the own group
		{500, -1, 0, false},
		{1, 0, 0, false},
	} {
		if target, ok := everyone(c.self, c.runtime); target != c.target || ok != c.ok {
			t.Errorf("%+v: %d, %v", c, target, ok)
		}
	}
}

func TestACommandIsLookedUpInThePathOfTheFunction(t *testing.T) {
	directory := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o755, "data": 0o644} {
		if err := os.WriteFile(filepath.Join(directory, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := "/nonexistent:" + directory
	for _, c := range []struct {
		command    []string
		file, fail string
	}{
		{[]string{"good", "x"}, directory + "/good", ""},
		{[]string{"/any/file"}, "/any/file", ""},
		{[]string{"./here"}, "./here", ""},
		{[]string{"data"}, "", `exec: "data": executable file not found in $PATH`},
		{nil, "", "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"},
	} {
		file, argv, err := locate(c.command, path)
		if file != c.file || err == nil && !reflect.DeepEqual(argv, c.command) {
			t.Errorf("%v: %s %v", c.command, file, argv)
		}
		if c.fail != "" && (err == nil || err.Error() != c.fail) {
			t.Errorf("%v: %v", c.command, err)
		}
	}
}

func TestWhatCannotBeStartedIsSaid(t *testing.T) {
	for _, c := range []struct {
		command        []string
		directory      string
		cause, because string
	}{
		{[]string{"/x"}, "/", "invalidEntrypoint", "fork/exec /x: no such file or directory"},
		{[]string{"/bin/sh"}, "/x", "invalidWorkingDir", "chdir /x: no such file or directory"},
		{[]string{"/bin/sh"}, "/dev/null", "invalidWorkingDir", "chdir /dev/null: not a directory"},
	} {
		config := &configureMeta{Command: c.command, WorkingDirectory: c.directory,
			UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		_, err := spawn(config, "", 1)
		want := &startError{c.cause, c.because}
		if os.Getuid() == 0 && !reflect.DeepEqual(err, want) {
			t.Errorf("%v: %v", c.command, err)
		}
	}
}

func TestAnEndIsWordedAsGoWordsIt(t *testing.T) {
	for status, want := range map[syscall.WaitStatus]string{
		0: "", 1 << 8: "exit status 1", 127 << 8: "exit status 127", 9: "signal: killed",
		11: "signal: segmentation fault", 11 | 0x80: "signal: segmentation fault (core dumped)",
	} {
		if got := describe(status); got != want {
			t.Errorf("%x: %s", int(status), got)
		}
	}
}

func TestTheEnvironmentIsTheConfiguredOne(t *testing.T) {
	got := environ(&configureMeta{Environment: map[string]string{"B": "2", "A": "1=1", "AWS_LAMBDA_RUNTIME_API": "x"}}, "h:1")
	if want := []string{"A=1=1", "AWS_LAMBDA_RUNTIME_API=h:1", "B=2"}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

type entry struct {
	name, text, link string
	mode             int64
	kind             byte
}

func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind, Linkname: e.link,
			Size: int64(len(e.text))}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCodeIsUnpackedWithItsModes(t *testing.T) {
	root := t.TempDir()
	err := unpack(pack(t,
		entry{name: "./", mode: 0o700, kind: tar.TypeDir},
		entry{name: "closed/", mode: 0o555, kind: tar.TypeDir},
		entry{name: "closed/app.py", text: "x", mode: 0o640, kind: tar.TypeReg},
		entry{name: "deep/er/bootstrap", text: "#!", mode: 0o4755, kind: tar.TypeReg},
		entry{name: "link", link: "deep/er/bootstrap", kind: tar.TypeSymlink},
	), root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"closed": os.ModeDir | 0o555, "closed/app.py": 0o640, "deep/er/bootstrap": 0o755,
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if target, err := os.Readlink(root + "/link"); target != "deep/er/bootstrap" {
		t.Error(target, err)
	}
}

func TestCodeStaysInItsDirectory(t *testing.T) {
	outside := t.TempDir()
	for name, entries := range map[string][]entry{
		"absolute":           {{name: "/etc/x", kind: tar.TypeReg}},
		"upwards":            {{name: "a/../../x", kind: tar.TypeReg}},
		"device":             {{name: "null", kind: tar.TypeChar}},
		"hard link":          {{name: "x", link: "/etc/passwd", kind: tar.TypeLink}},
		"file through link":  {{name: "l", link: outside, kind: tar.TypeSymlink}, {name: "l/x", text: "x", kind: tar.TypeReg}},
		"link through link":  {{name: "l", link: outside, kind: tar.TypeSymlink}, {name: "l/x", link: "y", kind: tar.TypeSymlink}},
		"link through later": {{name: "l/x", link: "y", kind: tar.TypeSymlink}, {name: "l", link: outside, kind: tar.TypeSymlink}},
		"the same name":      {{name: "x", kind: tar.TypeReg}, {name: "x", kind: tar.TypeReg}},
	} {
		if err := unpack(pack(t, entries...), t.TempDir()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Error("written outside:", left)
	}
	if err := unpack([]byte(strings.Repeat("no tar", 200)), t.TempDir()); err == nil {
		t.Error("no tar: no error")
	}
}

func TestMemoryIsReadFromEitherKindOfCgroup(t *testing.T) {
	v1 := []byte("cache 4096\nrss 10\ntotal_cache 3\ntotal_rss 8822784\ntotal_rss_huge 1\n")
	if n := value(v1, []byte("total_rss ")); n != 8822784 {
		t.Error(n)
	}
	v2 := []byte("anon 1234\nfile 5\ninactive_anon 7")
	if n := value(v2, []byte("anon ")); n != 1234 {
		t.Error(n)
	}
	if n := value([]byte("low 0\noom 1\noom_kill 2\noom_group_kill 0\n"), []byte("oom_kill ")); n != 2 {
		t.Error(n)
	}
	if n := value(nil, []byte("anon ")); n != 0 {
		t.Error(n)
	}
	gvisor := []byte("MemTotal:         704512 kB\nAnonPages:         11612 kB\nShmem:   4 kB\n")
	if n := value(gvisor, []byte("AnonPages:")) - value(gvisor, []byte("Shmem:")); n != 11608 {
		t.Error(n)
	}
}

func TestMemoryIsWatchedMoreCloselyTheLessIsLeft(t *testing.T) {
	for headroom, want := range map[int64]time.Duration{
		-1: 5 * time.Millisecond, 0: 5 * time.Millisecond, 1 << 30: 100 * time.Millisecond,
		64 << 20: 31250 * time.Microsecond, 1<<63 - 1: 100 * time.Millisecond,
	} {
		if got := pause(headroom); got != want {
			t.Errorf("%d: %v", headroom, got)
		}
	}
}

func TestThreadsAreThereBeforeTheyAreNeeded(t *testing.T) {
	threads := func() int {
		found, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	const count = 40 // more than the tests before this one have left
	reserveThreads(count)
	if before := threads(); before < count {
		t.Fatalf("%d threads", before)
	}
	before := threads()
	reserveThreads(count)
	if after := threads(); after > before+count/4 { // Go's own may come at any time
		t.Errorf("%d threads became %d: they were not kept", before, after)
	}
}
