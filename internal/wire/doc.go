// Package wire speaks the two AWS protocols that podid's services use, restJson1 (EKS, EKS Auth) and awsQuery (STS, IAM), and does
// once, for every operation of every service, what no operation may forget: request id, size cap, deadline, authentication,
// authorization, audit, metrics, and the spelling of answers and errors.
//
// An operation is declared next to its implementation with [Op]; what it asks permission for is part of the declaration.
// wire does not know what any operation means, and services do not know how their answers are spelled.
package wire
