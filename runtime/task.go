package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// unpack writes a tar of directories, regular files and symbolic links into an
// empty directory. Nothing is written outside of it: names stay inside, and while
// files are written no link exists that could lead elsewhere.
//
// The init may not write into a directory that denies it (it is root without
// CAP_DAC_OVERRIDE), so directories get their modes last, and the deepest first.
func unpack(archive []byte, root string) error {
	type late struct {
		path   string
		target string
		mode   os.FileMode
	}
	var links, directories []late
	linked := map[string]bool{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, err := inside(header.Name)
		if err != nil {
			return err
		}
		path := filepath.Join(root, name)
		mode := os.FileMode(header.Mode) & 0o777
		if header.Typeflag != tar.TypeDir {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			if name != "." {
				directories = append(directories, late{path: path, mode: mode})
			}
		case tar.TypeReg:
			if err := write(path, mode, reader); err != nil {
				return err
			}
		case tar.TypeSymlink:
			links = append(links, late{path: path, target: header.Linkname})
			linked[path] = true
		default:
			return fmt.Errorf("%s: a tar entry of type %q", header.Name, header.Typeflag)
		}
	}
	for _, link := range links {
		for above := filepath.Dir(link.path); above != root; above = filepath.Dir(above) {
			if linked[above] {
				return fmt.Errorf("%s: lies behind a link", link.path)
			}
		}
		if err := os.Symlink(link.target, link.path); err != nil {
			return err
		}
	}
	for i := len(directories) - 1; i >= 0; i-- {
		if err := os.Chmod(directories[i].path, directories[i].mode); err != nil {
			return err
		}
	}
	return nil
}

func inside(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%s: leads out of the directory", name)
		}
	}
	if name == "" || filepath.IsAbs(name) {
		return "", fmt.Errorf("%q: not a name inside the directory", name)
	}
	return filepath.Clean(name), nil
}

func write(path string, mode os.FileMode, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}
