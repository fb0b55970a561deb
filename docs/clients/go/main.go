// Send three payments and handle every score that comes: keyed, idempotent, read committed, each once.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap = env("BOOTSTRAP_SERVERS", "localhost:9092")
	payments  = env("PAYMENTS_TOPIC", "transactions")
	scores    = env("SCORES_TOPIC", "fraud-scores")
	group     = env("CONSUMER_GROUP", "alerts")
)

type payment struct {
	TransactionID string    `json:"transaction_id"`
	UserID        string    `json:"user_id"`
	Amount        float64   `json:"amount"`
	CreatedAt     time.Time `json:"created_at"` // in JSON it is RFC 3339, with its offset
	IsVPN         bool      `json:"is_vpn"`
}

type score struct {
	TransactionID    string  `json:"transaction_id"`
	UserID           string  `json:"user_id"`
	FraudProbability float64 `json:"fraud_probability"`
	SequenceAnomaly  bool    `json:"sequence_anomaly"`
}

func main() {
	// from outside, since a record whose answer is lost is not given up: see below
	time.AfterFunc(time.Minute, func() { log.Fatal("after a minute there are payments without a score") })
	ctx := context.Background()

	wanted := map[string]bool{}
	var made []payment
	for _, user := range []string{"anna", "bob", "clara"} {
		id := rand.Text()
		wanted[id] = true
		made = append(made, payment{TransactionID: id, UserID: user, Amount: 19.90, CreatedAt: time.Now()})
	}
	if err := send(ctx, made); err != nil {
		log.Fatalf("a payment was not delivered: %v", err)
	}
	if err := readScores(ctx, wanted); err != nil {
		log.Fatalf("scores cannot be read: %v", err)
	}
}

// send returns once the brokers have all of them, or why one of them was not taken.
func send(ctx context.Context, made []payment) error {
	// idempotent, acks=all and Java's murmur2 are what franz-go does by itself
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, each := range made {
		value, err := json.Marshal(each)
		if err != nil {
			return err
		}
		records = append(records, &kgo.Record{Topic: payments, Key: []byte(each.UserID), Value: value})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// readScores handles scores until there is one for each wanted transaction.
func readScores(ctx context.Context, wanted map[string]bool) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(scores),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // the default is to read everything
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // no partition goes to another consumer between the work and its commit
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()

	handled := map[string]bool{} // in your system: a unique key where you keep what was done
	for len(wanted) > 0 {
		fetches := client.PollFetches(ctx)
		var failed []error
		fetches.EachError(func(_ string, _ int32, err error) { failed = append(failed, err) })
		if len(failed) > 0 { // what can be retried was retried
			return errors.Join(failed...)
		}
		records := fetches.Records()
		for _, record := range records {
			var found score
			if err := json.Unmarshal(record.Value, &found); err != nil {
				return err
			}
			if source := sourceOf(record); !handled[source] {
				handled[source] = true
				handle(found)
			}
			delete(wanted, found.TransactionID)
		}
		// after the work: what a crash interrupts comes again
		if err := client.CommitRecords(ctx, records...); err != nil {
			return err
		}
		client.AllowRebalance()
	}
	return nil
}

// sourceOf says which payment's record the score answers.
func sourceOf(record *kgo.Record) string {
	parts := make([]string, 3)
	for _, header := range record.Headers {
		switch header.Key {
		case "source-topic":
			parts[0] = string(header.Value)
		case "source-partition":
			parts[1] = string(header.Value)
		case "source-offset":
			parts[2] = string(header.Value)
		}
	}
	return strings.Join(parts, "/")
}

// handle does what a score calls for; here it is printed.
func handle(found score) {
	fmt.Println(found.TransactionID, found.UserID, found.FraudProbability, found.SequenceAnomaly)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
