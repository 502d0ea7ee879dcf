package admin

// Route is a route for tests.
type Route struct {
	Pattern string
	Action  string // the name of the action; empty if the route only shows something
}

// Routes returns all routes.
func Routes() []Route {
	var all []Route
	s := &server{}
	for _, r := range s.routes() {
		all = append(all, Route{Pattern: r.pattern})
	}
	for i, r := range s.actionRoutes() {
		all[len(all)-2*len(actions)+i] = Route{r.pattern, actions[i/2].name}
	}
	return all
}
