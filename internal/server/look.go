package server

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/page"
)

// pageLook returns the configured colours and pictures of the pages. It reads the picture
// files.
func pageLook(cfg config.Config) (page.Look, error) {
	look := page.Look{AccentLight: string(cfg.Accent.Light), AccentDark: string(cfg.Accent.Dark), Icons: map[string]page.Picture{}}
	if cfg.Logo != "" {
		logo, err := config.ReadPicture(cfg.Logo)
		if err != nil {
			return look, fmt.Errorf("logo: %w", err)
		}
		look.Logo = page.Picture(logo)
	}
	for _, p := range cfg.Panels {
		if p.Icon == "" {
			continue
		}
		icon, err := config.ReadPicture(p.Icon)
		if err != nil {
			return look, fmt.Errorf("panel %s: icon: %w", p.URL, err)
		}
		look.Icons[p.URL.String()] = page.Picture(icon)
	}
	return look, nil
}
