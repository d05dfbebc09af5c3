package wire

import (
	"strconv"
	"time"
)

// Time is a timestamp as the protocols spell it: in JSON epoch seconds as a number with milliseconds (1697734297.597), in XML
// ISO 8601 in UTC (2026-01-02T03:04:05Z).
type Time time.Time

// MarshalJSON writes epoch seconds.
func (t Time) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', -1, 64), nil
}

// MarshalText writes ISO 8601, for XML.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05Z")), nil
}
