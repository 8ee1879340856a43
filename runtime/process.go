package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"unsafe"
)

const (
	prSetDumpable   = 4
	prCapBSetDrop   = 24
	prSetNoNewPrivs = 38
	lastCapability  = 63
)

// harden takes from this process, before it starts anything, what a child could
// inherit or reach: the bounding and inheritable capability sets, and /proc/1.
// The init keeps its own SETUID, SETGID and KILL.
func harden() error {
	for capability := uintptr(0); capability <= lastCapability; capability++ {
		_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, prCapBSetDrop, capability, 0)
		if errno == syscall.EINVAL {
			break // the kernel knows no more of them
		}
		if errno != 0 {
			return fmt.Errorf("emptying the bounding set: %w", errno)
		}
	}
	header := struct{ version, pid uint32 }{version: 0x20080522}
	var sets [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0)
	if errno == 0 {
		sets[0].inheritable, sets[1].inheritable = 0, 0
		_, _, errno = syscall.AllThreadsSyscall(syscall.SYS_CAPSET,
			uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0)
	}
	if errno != 0 {
		return fmt.Errorf("emptying the inheritable set: %w", errno)
	}
	if _, _, errno = syscall.AllThreadsSyscall6(
		syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setting no-new-privs: %w", errno)
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return fmt.Errorf("setting dumpable: %w", errno)
	}
	return nil
}

// everyone returns the argument of kill(2) that stands for every process but the
// init. Only as PID 1 is that -1: anywhere else, -1 would mean the whole machine,
// and the runtime's process group has to do. ok is false where there is nobody.
func everyone(self, runtime int) (target int, ok bool) {
	switch {
	case runtime <= 1:
		return 0, false
	case self == 1:
		return -1, true
	}
	return -runtime, true
}

// signalAll signals every process but the init. No process escapes by being born
// meanwhile: the kernel walks the process list under a lock that fork(2) needs,
// and a fork whose parent has a signal pending starts over.
func signalAll(runtime int, signal syscall.Signal) {
	if target, ok := everyone(os.Getpid(), runtime); ok {
		_ = syscall.Kill(target, signal) // an error says that nobody is left
	}
}

// watchChildren returns a channel that is signalled when a child has died. That a
// child was stopped or continued is kept from this process (Go's own handler asks
// for it): a wait4 that blocks, or a SIGCHLD, would wake the init twice for every
// freeze and thaw, on the path of an invocation.
func watchChildren() chan os.Signal {
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, syscall.SIGCHLD)
	const noChildStop, setSize = 1, 8
	var action struct{ handler, flags, restorer, mask uintptr }
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD),
		0, uintptr(unsafe.Pointer(&action)), setSize, 0, 0)
	if errno == 0 {
		action.flags |= noChildStop
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD),
			uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0)
	}
	return deaths
}

// A startError says why a runtime could not be started; cause is EXITED's.
type startError struct{ cause, description string }

func (e *startError) Error() string { return e.description }

var bootstraps = []string{"/var/task/bootstrap", "/opt/bootstrap"}

// locate finds the file to execute and its argv.
func locate(command []string, path string) (string, []string, error) {
	if len(command) == 0 {
		for _, file := range bootstraps {
			// One that may not be executed is chosen too, and says so when it is.
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
				return file, []string{file}, nil
			}
		}
		return "", nil, fmt.Errorf("Couldn't find valid bootstrap(s): %v", bootstraps) //nolint:staticcheck // Lambda's words
	}
	name := command[0]
	if strings.Contains(name, "/") {
		return name, command, nil
	}
	for _, directory := range filepath.SplitList(path) {
		if file := filepath.Join(directory, name); executable(file) {
			return file, command, nil
		}
	}
	return "", nil, fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// The runtime's descriptor for records, as on AWS: far from those that a shell
// script takes for itself.
const recordsDescriptor = 62

// spawn starts the runtime with nothing but /dev/null and the writer, which is its
// stdout, its stderr and, where CONFIGURE asks for one, its descriptor for records.
// Errors are *startError.
func spawn(config *configureMeta, api string, writer int) (pid int, err error) {
	file, argv, err := locate(config.Command, config.Environment["PATH"])
	if err != nil {
		return 0, &startError{"invalidEntrypoint", err.Error()}
	}
	// looked at here because fork and exec report one error for both
	if info, err := os.Stat(config.WorkingDirectory); err != nil || !info.IsDir() {
		why := error(syscall.ENOTDIR)
		var failed *fs.PathError
		if errors.As(err, &failed) {
			why = failed.Err
		}
		return 0, &startError{"invalidWorkingDir",
			fmt.Sprintf("chdir %s: %v", config.WorkingDirectory, why)}
	}
	files := []uintptr{uintptr(writer), uintptr(writer)}
	if config.TelemetryLog {
		for len(files) < recordsDescriptor-1 {
			files = append(files, ^uintptr(0)) // closed
		}
		files = append(files, uintptr(writer))
	}
	pid, err = fork(config, file, argv, config.WorkingDirectory, environ(config, api), files)
	if err != nil {
		return 0, &startError{"invalidEntrypoint", fmt.Sprintf("fork/exec %s: %v", file, err)}
	}
	return pid, nil
}

// fork starts a process as the function's user, in a session of its own. Its descriptors
// are /dev/null and then the files.
func fork(config *configureMeta, file string, argv []string, directory string,
	environment []string, files []uintptr) (pid int, err error) {
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer syscall.Close(null)
	defer raiseOOMScore()()
	return syscall.ForkExec(file, argv, &syscall.ProcAttr{
		Dir:   directory,
		Env:   environment,
		Files: append([]uintptr{uintptr(null)}, files...),
		Sys: &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: config.UID, Gid: config.GID},
			Setsid:     true,
		},
	})
}

// raiseOOMScore makes what is forked next the kernel's first choice when memory is
// short, rather than the init. It returns what goes back to the score before, which
// needs no privilege. Both are preferences: where they may not be expressed, the
// kernel chooses.
func raiseOOMScore() (restore func()) {
	const file = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(file)
	if err != nil {
		return func() {}
	}
	_ = os.WriteFile(file, []byte("500"), 0)
	return func() { _ = os.WriteFile(file, before, 0) }
}

const apiName, recordsName = "AWS_LAMBDA_RUNTIME_API", "_LAMBDA_TELEMETRY_LOG_FD"

func environ(config *configureMeta, api string) []string {
	list := []string{apiName + "=" + api}
	if config.TelemetryLog {
		list = append(list, fmt.Sprintf("%s=%d", recordsName, recordsDescriptor))
	}
	for name, value := range config.Environment {
		if name != apiName && name != recordsName {
			list = append(list, name+"="+value)
		}
	}
	sort.Strings(list)
	return list
}

// describe words a wait status as os.ProcessState does; exit status 0 is "".
func describe(status syscall.WaitStatus) string {
	switch {
	case status.Signaled() && status.CoreDump():
		return fmt.Sprintf("signal: %v (core dumped)", status.Signal())
	case status.Signaled():
		return fmt.Sprintf("signal: %v", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Sprintf("exit status %d", status.ExitStatus())
	}
	return ""
}
