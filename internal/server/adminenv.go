package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// AdminEnv is the file with the administrator's environment, see [Server.WriteAdminEnv].
func AdminEnv(dataDir string) string { return filepath.Join(dataDir, "admin.env") }

// AdminEnvCommand makes a POSIX shell the administrator. A file without a slash would be looked for in PATH.
func AdminEnvCommand(dataDir string) string {
	file := AdminEnv(dataDir)
	if !strings.Contains(file, "/") {
		file = "./" + file
	}
	return ". " + quote(file)
}

// WriteAdminEnv writes the variables with which any AWS client becomes the administrator, for its owner only. What a shell may have from
// elsewhere and would mix in is unset. caBundle is the file with the authorities that clients must trust, empty for those they know.
func (s *Server) WriteAdminEnv(caBundle string) error {
	admin := s.Admin()
	lines := []string{
		"# The administrator of podid. To use it: " + AdminEnvCommand(s.cfg.DataDir),
		"unset AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_IGNORE_CONFIGURED_ENDPOINT_URLS \\",
		"  AWS_ENDPOINT_URL_EKS AWS_ENDPOINT_URL_EKS_AUTH AWS_ENDPOINT_URL_IAM AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_STS",
		"export AWS_ENDPOINT_URL=" + quote(s.URL()),
		"export AWS_ACCESS_KEY_ID=" + admin.AccessKeyID,
		"export AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey.Reveal(),
		"export AWS_REGION=" + quote(s.cfg.Region),
		"export AWS_DEFAULT_REGION=" + quote(s.cfg.Region),
	}
	if caBundle != "" {
		absolute, err := filepath.Abs(caBundle)
		if err != nil {
			return fmt.Errorf("writing the administrator's environment: %w", err)
		}
		lines = append(lines, "export AWS_CA_BUNDLE="+quote(absolute))
	}
	file := AdminEnv(s.cfg.DataDir)
	temporary := file + ".new"
	_ = os.Remove(temporary) // of a start that was cut off; a file that is there would keep its mode
	if err := os.WriteFile(temporary, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the administrator's environment: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("writing the administrator's environment: %w", err)
	}
	return nil
}

// quote makes a word of a POSIX shell out of s.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@,="
	if strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
