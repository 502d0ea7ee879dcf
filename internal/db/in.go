package db

import (
	"strconv"
	"strings"
)

// inStep is the number by which lists of [In] grow, so that pages of all lengths need few different
// statements, which stay prepared.
const inStep = 50

// In returns a list of parameters for use after "column IN", and their values. The number of the
// first parameter is first. Empty texts fill the list up, so the column must not contain any.
func In(values []string, first int) (list string, args []any) {
	var places []string
	for i := range max(1, (len(values)+inStep-1)/inStep) * inStep {
		value := ""
		if i < len(values) {
			value = values[i]
		}
		places, args = append(places, "$"+strconv.Itoa(first+i)), append(args, value)
	}
	return "(" + strings.Join(places, ", ") + ")", args
}
